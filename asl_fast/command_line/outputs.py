# SPDX-License-Identifier: Apache-2.0
"""Files that a command is asked to write: looked at before its work is done, and never one of those that it reads."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from asl_fast.files import is_stream

_WRITTEN = (".json", ".csv")
"""What commands write; a file of another kind in a folder that is read belongs to what is read."""


def check_output(option: str, path: Path, inputs: Iterable[Path | None] = ()) -> None:
    """Refuse a file that could not be written in the end, or whose writing would destroy what is read.

    Args:
        option: The option that names the file, such as ``"--output"``.
        path: The file.
        inputs: Files and folders that the command reads; None stands for one that was not given.

    Raises:
        OSError: Naming option and path, for a folder, a device or a folder that is not there or cannot be written.
        ValueError: When the file is one of the inputs.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{option} {path} is a folder; name a file in it")
    if is_stream(path):
        raise OSError(f"{option} {path} is a device or pipe; name a file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{option} {path}: folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"{option} {path}: folder {path.parent} cannot be written")
    if path.exists():
        for given in inputs:
            if given is not None and _is_of(path, given):
                raise ValueError(f"{option} {path} would overwrite what is read from {given}; choose another file")


def check_output_folder(option: str, folder: Path) -> None:
    """Refuse a folder that files could not be written into; it need not exist, but the one around it.

    Raises:
        OSError: Naming option and path.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{option} {folder} is a file; name a folder")
    place = folder if folder.exists() else folder.parent
    if not place.is_dir():
        raise FileNotFoundError(f"{option} {folder}: folder {place} does not exist")
    if not os.access(place, os.W_OK):
        raise PermissionError(f"{option} {folder}: folder {place} cannot be written")


def _is_of(path: Path, given: Path) -> bool:
    """Whether an existing file is what was given, or lies among what is read from a folder."""
    if given.is_dir():
        return path.suffix.lower() not in _WRITTEN and given.resolve() in path.resolve().parents
    return given.exists() and path.samefile(given)
