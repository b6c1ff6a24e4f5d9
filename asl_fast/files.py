# SPDX-License-Identifier: Apache-2.0
"""Text, JSON and CSV files: read with errors that name the file, written whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import errno
import gc
import gzip
import io
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a binary file that takes the place of ``path`` once it is complete and on disk.

    A crash, a full disk or Ctrl-C leaves what ``path`` held before.

    Raises:
        OSError: Of the kind that the system gave, naming ``path``, when it cannot be written.
    """
    path = Path(path)
    # The process id keeps two programs that write the same file from writing into one another's half.
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        kept = "; what it held before is intact" if path.exists() else ""
        raise type(error)(f"cannot write {path}: {error.strerror or error}{kept}{remedy(error)}") from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def remedy(error: OSError) -> str:
    """Say, after a semicolon, what to do about a file that cannot be written; nothing where the cause says it."""
    if error.errno in (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return "; free some space or choose another folder"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "; choose a folder that can be written"
    return ""


def _sync_folder(path: Path) -> None:
    # Without it the new name itself may be lost with the machine's power.
    if os.name == "posix":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 file atomically.

    Raises:
        OSError: As `atomic_write`.
    """
    data = text.encode()
    with atomic_write(path) as file:
        file.write(data)


def write_json(path: str | Path, value: Any, *, indent: int | None = None) -> None:
    """Write a JSON file atomically.

    Args:
        path: The file.
        value: Its content.
        indent: Spaces by which nested values are indented, for files that people read; None writes one line.

    Raises:
        OSError: As `atomic_write`.
        ValueError: For a number that JSON does not have (NaN, infinity).
    """
    write_text(path, json.dumps(value, allow_nan=False, indent=indent) + "\n")


def read_text(path: str | Path) -> str:
    """Read a UTF-8 file, with or without a byte-order mark; ``.gz`` is unpacked.

    Raises:
        FileNotFoundError: When it is not there.
        ValueError: When it is damaged or not text.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist") from None
    except (EOFError, UnicodeDecodeError, zlib.error, gzip.BadGzipFile, IsADirectoryError) as error:
        raise ValueError(f"{path} cannot be read ({error}); download it again") from error


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Pause Python's search for circles of garbage, for code that makes millions of objects and no circle.

    The search begins anew with every few hundred objects, and takes twice as long as reading a large file does.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        FileNotFoundError: When it is not there.
        ValueError: When it is truncated, or names a key twice in one object (JSON would keep the last silently).
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise ValueError(f"{path}: key {twice!r} occurs twice in one object; remove one of them")
        return entries

    text = read_text(path)
    try:
        with collector_paused():
            return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}; is the file complete?"
        ) from error


def read_csv(path: str | Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """Read the rows of a CSV file with a header.

    Args:
        path: The file.
        columns: Columns that must be there.

    Raises:
        FileNotFoundError: When it is not there.
        ValueError: When a column is missing, or a row has another number of fields than the header.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    header = reader.fieldnames or []
    missing = [column for column in columns if column not in header]
    if missing:
        raise ValueError(f"{path}: no column {missing[0]!r}; its columns are {', '.join(header) or 'none'}")
    rows: list[dict[str, str]] = []
    for row in reader:
        if None in row or None in row.values():
            raise ValueError(f"{path}, line {reader.line_num}: expected {len(header)} fields as in the header")
        rows.append(row)
    return rows


def number(value: object, where: str) -> float:
    """Read a number, or text that is one.

    Raises:
        ValueError: Beginning with ``where``, for anything else and for NaN and infinity.
    """
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            found = float(value)
        except (ValueError, OverflowError):
            pass
        else:
            if abs(found) < float("inf"):
                return found
    raise ValueError(f"{where}: expected a number, found {value!r}")
