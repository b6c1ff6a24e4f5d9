# SPDX-License-Identifier: Apache-2.0
"""Arrays written as text, one feature vector a line: .csv and .tsv files, with or without a header."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.features.array_entries import Unusable
from asl_fast.files import read_text

TEXTS = (".csv", ".tsv")


class _Table(NamedTuple):
    """Lines of numbers, and how one is split."""

    lines: list[str]
    separator: str | None
    columns: int
    first_line: int
    first_column: int
    names: tuple[str, ...] | None


def read_text_table(path: Path) -> tuple[tuple[str, ...] | None, NDArray[np.float64]]:
    """Read (T, D) numbers as `read_text_array` does, with the names of the columns where there is a header.

    Raises:
        ValueError: Naming the file, and the line that is no such.
    """
    try:
        table = _table(path)
        return table.names, np.asarray(_numbers(table), np.float64)
    except Unusable as error:
        raise ValueError(f"{path}: {error}") from None


def read_text_array(path: Path) -> NDArray[Any]:
    """Read (T, D) numbers separated by commas, semicolons, tabs or spaces.

    A first line that is not all numbers, or that counts the columns from 0, is a header; a first column without a name
    in it counts the lines, as pandas writes them, and is left out. Between semicolons and tabs, ``0,5`` is 0.5.

    Raises:
        Unusable: Naming the line that is no such.
        ValueError: As `read_text`.
    """
    return _numbers(_table(path))


def _numbers(table: _Table) -> NDArray[Any]:
    columns = range(table.first_column, table.first_column + table.columns)
    try:
        return np.loadtxt(
            io.StringIO("\n".join(table.lines)), delimiter=table.separator, usecols=columns, ndmin=2, comments=None
        )
    except ValueError as error:
        for number, line in enumerate(table.lines, table.first_line):
            fields = _fields(line, table.separator)
            if len(fields) != table.columns + table.first_column or not all(map(_is_number, fields)):
                raise Unusable(
                    f"line {number}: expected {table.columns + table.first_column} numbers, found {line!r:.80}"
                ) from None
        raise Unusable(str(error)) from None


def text_shape(path: Path) -> tuple[int, int]:
    """Shape that `read_text_array` will return; errors alike, but for single lines."""
    table = _table(path)
    return len(table.lines), table.columns


def _table(path: Path) -> _Table:
    numbered = [(number, line) for number, line in enumerate(read_text(path).splitlines(), 1) if line.strip()]
    if not numbered:
        raise Unusable("holds no numbers")
    first = numbered[0][1]
    separator = next((each for each in ("\t", ";", ",") if each in first), None)
    if separator in ("\t", ";") and any("," in line and "." not in line for _, line in numbered[-1:]):
        numbered = [(number, line.replace(",", ".")) for number, line in numbered]
        first = numbered[0][1]
    fields = _fields(first, separator)
    header = not all(map(_is_number, fields)) or (len(fields) > 1 and fields == [str(i) for i in range(len(fields))])
    unnamed = header and not fields[0].strip(' "')
    rows = numbered[header:]
    if not rows:
        raise Unusable(f"holds a header and no numbers: {first!r:.80}")
    names = tuple(field.strip(' "') for field in fields[int(unnamed) :]) if header else None
    return _Table([line for _, line in rows], separator, len(fields) - unnamed, rows[0][0], int(unnamed), names)


def _fields(line: str, separator: str | None) -> list[str]:
    return [field.strip() for field in line.split(separator)]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
