# SPDX-License-Identifier: Apache-2.0
"""The video files of a folder, by the names of their videos."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

# Formats that browsers play come first: of several files of one video, the report takes the first.
SUFFIXES = (
    *(".mp4", ".webm", ".m4v", ".ogv", ".mov", ".mkv", ".avi", ".mpg", ".mpeg"),
    *(".mts", ".m2ts", ".ts", ".wmv", ".3gp", ".flv", ".mxf"),
)


def find_video_files(paths: Sequence[Path]) -> dict[str, Path]:
    """Find videos by name: of a file its name without extension, of a folder all files in it and in its folders.

    A file in a folder inside is called by its name alone, or with its folders where that names several.

    Args:
        paths: Files and folders; a file that is named may have any extension.

    Raises:
        FileNotFoundError: When a path is not there, or a folder holds no video.
        ValueError: When two files have one name.
    """
    found: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"--videos {path} does not exist")
        for name, file in _of_folder(path).items() if path.is_dir() else [(path.stem, path)]:
            if name in found:
                raise ValueError(f"{found[name]} and {file} are both called {name!r}; rename or leave out one of them")
            found[name] = file
    return found


def _of_folder(folder: Path) -> dict[str, Path]:
    files = [
        Path(place, name)
        for place, _, names in os.walk(folder)
        for name in names
        # Systems leave hidden files beside copied ones.
        if Path(name).suffix.lower() in SUFFIXES and not name.startswith("._")
    ]
    if not files:
        raise FileNotFoundError(f"--videos {folder} holds no video file ({', '.join(SUFFIXES)})")
    paths: dict[str, Path] = {}
    for file in sorted(files):
        name = file.relative_to(folder).with_suffix("").as_posix()
        if name in paths:
            raise ValueError(f"{paths[name]} and {file} are both called {name!r}; rename or leave out one of them")
        paths[name] = file
    short = {PurePosixPath(name).name: path for name, path in paths.items()}
    return short if len(short) == len(paths) else paths
