# SPDX-License-Identifier: Apache-2.0
"""The feature files of a folder and of the folders in it, by the names that videos are looked for under."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

from asl_fast.data.features.array_files import EXTENSIONS, TABLES
from asl_fast.wording import count

Place = TypeVar("Place")
_DEEPEST = 8
_REMEDIES = {
    ".pkl": "pickles can run any code and are not read: save their arrays with numpy.save",
    ".pickle": "pickles can run any code and are not read: save their arrays with numpy.save",
    **dict.fromkeys(
        (".mp4", ".mkv", ".webm", ".avi", ".mov"),
        "features of videos are read, not videos: python -m asl_fast.extract makes them",
    ),
    ".txt": "name them .csv if each line is one feature vector",
}


def feature_files(folder: Path, extension: str | None = None) -> dict[str, Path]:
    """Find feature files by name: without extension, and without folder where that tells them apart.

    Files in the folder itself go before those in folders inside; tables as text and ``.mat``, which often lie beside
    features, are taken where there is nothing else.

    Args:
        folder: Where to look.
        extension: Which files to take, such as ``.npy``; None takes those that occur.

    Raises:
        FileNotFoundError: When there is none, saying what is there instead.
        ValueError: When there are several kinds.
    """
    found: Sequence[Path] = [path for path in sorted(folder.iterdir()) if _is_wanted(path, extension)]
    if not found:
        found = sorted(_inside(folder, extension))
    if not found:
        raise FileNotFoundError(_nothing_to_read(folder, extension))
    kinds = sorted({path.suffix for path in found})
    usual = [kind for kind in kinds if kind.lower() not in TABLES] or kinds
    if len(usual) > 1 and extension is None:
        raise ValueError(
            f"feature folder {folder} holds {', '.join(usual)} files: choose with --feature-extension {usual[0]} "
            '("extension" in a manifest)'
        )
    files = [path for path in found if path.suffix in usual]
    names = {path.relative_to(folder).with_suffix("").as_posix(): path for path in files}
    return short_names(names)


def holds_features(folder: Path) -> bool:
    """Tell whether there are feature files in the folder itself."""
    return any(_is_wanted(path, None) for path in folder.iterdir())


def short_names(paths: Mapping[str, Place]) -> dict[str, Place]:
    """Name what lies in folders by its last part alone, unless two would be called alike."""
    counts = Counter(PurePosixPath(name).name for name in paths)
    if max(counts.values(), default=0) > 1:
        return dict(paths)
    return {PurePosixPath(name).name: path for name, path in paths.items()}


def _is_wanted(path: Path, extension: str | None) -> bool:
    # What is named like a feature file and is none, such as a pipe, is a matter of its own video.
    wanted = path.suffix.lower() in EXTENSIONS if extension is None else path.suffix == extension
    # Systems leave hidden files beside copied ones: ._NAME.npy holds no array.
    return wanted and not path.name.startswith("._") and not path.is_dir()


def _inside(folder: Path, extension: str | None) -> Iterator[Path]:
    seen = {os.path.realpath(folder)}
    for place, folders, files in os.walk(folder, followlinks=True):
        deep = len(Path(place).relative_to(folder).parts) >= _DEEPEST
        # A link to a folder above would lead round in a circle.
        folders[:] = [] if deep else sorted(name for name in folders if _is_new(os.path.join(place, name), seen))
        yield from (path for path in (Path(place) / name for name in files) if _is_wanted(path, extension))


def _is_new(folder: str, seen: set[str]) -> bool:
    real = os.path.realpath(folder)
    if real in seen:
        return False
    seen.add(real)
    return True


def _nothing_to_read(folder: Path, extension: str | None) -> str:
    message = f"feature folder {folder} holds no {extension or ', '.join(EXTENSIONS)} file"
    for suffix, remedy in _REMEDIES.items():
        number = sum(entry.suffix.lower() == suffix for entry in folder.iterdir())
        if number:
            return f"{message}, but {count(number, f'{suffix} file')}; {remedy}"
    return message
