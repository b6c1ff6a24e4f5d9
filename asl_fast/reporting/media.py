# SPDX-License-Identifier: Apache-2.0
"""Which file of a folder is which video, and how a page reaches it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from asl_fast.video.found import SUFFIXES
from asl_fast.wording import count, examples


def find_videos(names: Iterable[str], folder: Path, page: Path) -> dict[str, str]:
    """Find the file of each video: its path below the folder, or its name alone, is that of the video.

    Args:
        names: Names of the videos, which may contain slashes.
        folder: Searched with all folders in it.
        page: The page that is to play them.

    Returns:
        Video -> URL, relative to the page where both lie on one drive; videos without a file are left out.

    Raises:
        FileNotFoundError: When there is no such folder.
        ValueError: When it has no file of any of these videos.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"--videos {folder}: no such folder")
    by_path: dict[str, Path] = {}
    by_name: dict[str, Path] = {}
    for place, folders, files in os.walk(folder):
        folders.sort()
        for path in sorted((Path(place, file) for file in files), key=_preference):
            if path.suffix.lower() in SUFFIXES:
                relative = path.relative_to(folder)
                for known in (relative.as_posix(), relative.with_suffix("").as_posix()):
                    by_path.setdefault(known, path)
                for known in (path.name, path.stem):
                    by_name.setdefault(known, path)
    wanted = list(names)
    found = {name: file for name in wanted if (file := by_path.get(name) or by_name.get(name)) is not None}
    if not found:
        raise ValueError(
            f"--videos {folder}: none of its {count(len(set(by_path.values())), 'video file')} is named after one of "
            f"the {count(len(wanted), 'video')} of the run ({examples(wanted)}); expected for example "
            f"{wanted[0] if wanted else 'NAME'}{SUFFIXES[0]}"
        )
    return {name: _url(path, page) for name, path in found.items()}


def _preference(path: Path) -> tuple[int, str]:
    suffix = path.suffix.lower()
    return (SUFFIXES.index(suffix) if suffix in SUFFIXES else len(SUFFIXES), path.name)


def _url(path: Path, page: Path) -> str:
    try:
        relative = Path(os.path.relpath(path.resolve(), page.resolve().parent))
    except ValueError:  # another drive
        return path.resolve().as_uri()
    # A colon in the first part would make it a scheme.
    return "./" + quote(relative.as_posix())
