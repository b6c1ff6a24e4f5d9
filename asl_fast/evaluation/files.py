# SPDX-License-Identifier: Apache-2.0
"""Writing result files so that a reader never sees half of one."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any


def write_text(path: str | Path, text: str) -> None:
    """Writes beside the target and renames, so that the file is the old one or the new one.

    Raises:
        OSError: The folder does not exist or cannot be written; the message names the target.
    """
    path = Path(path)
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = file.name
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise type(error)(error.errno, f"cannot write {path}: {error.strerror}") from error


def write_json(path: str | Path, data: Any, *, indent: int | None = None) -> None:
    """Writes strict JSON (no NaN or infinity) atomically.

    Raises:
        ValueError: ``data`` holds NaN or infinity.
        OSError: As :func:`write_text`.
    """
    write_text(path, json.dumps(data, indent=indent, allow_nan=False) + "\n")
