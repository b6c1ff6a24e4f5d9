# SPDX-License-Identifier: Apache-2.0
"""JSON and CSV files, plain or gzipped, with errors that name the file."""

from __future__ import annotations

import csv
import gzip
import json
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def read_text(path: str | Path) -> str:
    """Text of a UTF-8 file; ``.gz`` is unpacked.

    Raises:
        FileNotFoundError: when it is not there.
        ValueError: when it is damaged or not text.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist") from None
    except (EOFError, UnicodeDecodeError, zlib.error, gzip.BadGzipFile, IsADirectoryError) as error:
        raise ValueError(f"{path} cannot be read ({error}); download it again") from error


def read_json(path: str | Path) -> Any:
    """Contents of a JSON file.

    Raises:
        FileNotFoundError: when it is not there.
        ValueError: when it is truncated, or names a key twice in one object (JSON would keep the last silently).
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
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not complete JSON ({error}); download it again") from error


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON file whole or not at all.

    Raises:
        OSError: when the place cannot be written.
        ValueError: for a number that JSON does not have (NaN, infinity).
    """
    path = Path(path)
    text = json.dumps(value, allow_nan=False, indent=1)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_csv(path: str | Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """Rows of a CSV file with a header.

    Args:
        path: The file.
        columns: Columns that must be there.

    Raises:
        FileNotFoundError: when it is not there.
        ValueError: when a column is missing, or a row has another number of fields than the header.
    """
    reader = csv.DictReader(read_text(path).splitlines())
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
    """A number, or text that is one.

    Raises:
        ValueError: beginning with ``where``, for anything else and for NaN and infinity.
    """
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            found = float(value)
        except ValueError:
            pass
        else:
            if abs(found) < float("inf"):
                return found
    raise ValueError(f"{where}: expected a number, found {value!r}")
