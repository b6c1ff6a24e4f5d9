# SPDX-License-Identifier: Apache-2.0
"""Tables of numbers in text files, as sensors are recorded."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray


def parse_numbers(text: bytes, columns: int | tuple[int, ...], where: str, separator: str = " ") -> NDArray[np.float64]:
    """Parse a (N, columns) table of numbers; blank lines are ignored, and so is a separator at the end of a line.

    Args:
        text: Content of the file.
        columns: Numbers in a line, or several that are allowed, of which all lines have one.
        where: How messages name the file.
        separator: Between numbers; the space is any number of blanks.

    Raises:
        ValueError: Naming the source and its first bad line.
    """
    allowed = (columns,) if isinstance(columns, int) else columns
    mark = separator.encode()
    lines = text.count(b"\n") + (not text.endswith(b"\n"))
    width = allowed[0]
    if len(allowed) > 1:
        found = len(_fields(next((line for line in text.split(b"\n") if line.strip()), b""), mark))
        width = found if found in allowed else width
    # What follows a field that is not a number is left unread, with a warning or an error: the count of values tells.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            values = np.fromstring(text if mark == b" " else text.replace(mark, b" "), dtype=np.float64, sep=" ")
        except ValueError:
            values = np.empty(0)
    # With a separator of its own, two of them in a row are a number that is missing: blanks alone would hide it.
    doubled = mark != b" " and mark + mark in text
    if values.size == lines * width and values.size and not doubled:
        return values.reshape(-1, width)
    rows = [(number, _fields(line, mark)) for number, line in enumerate(text.split(b"\n"), 1) if line.strip()]
    for number, row in rows:
        try:
            bad = len(row) != width or not [float(field) for field in row]
        except ValueError:
            bad = True
        if bad:
            shown = mark.join(row)[:80].decode(errors="replace")
            wanted = " or ".join(map(str, allowed))
            raise ValueError(f"{where}, line {number}: expected {wanted} numbers, found {shown!r}; download it again")
    if not rows:
        raise ValueError(f"{where}: the file is empty; download it again")
    return np.array([[float(field) for field in row] for _, row in rows])


def _fields(line: bytes, mark: bytes) -> list[bytes]:
    if mark == b" ":
        return line.split()
    line = line.strip()
    return line.removesuffix(mark).split(mark)
