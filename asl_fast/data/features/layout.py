# SPDX-License-Identifier: Apache-2.0
"""Which way round arrays lie, (time, channels) or (channels, time), found out from the shapes of several."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator

from asl_fast.wording import say_once

logger = logging.getLogger(__name__)
COMPARED, COMPARED_WHOLE = 32, 4
"""Arrays that are looked at; fewer where a file has no header, so that each is read whole."""


def is_transposed(shapes: Iterable[Callable[[], tuple[int, ...]]], where: str) -> bool:
    """Find out whether arrays are (D, T): they then have as many rows each, and numbers of columns that differ.

    Args:
        shapes: Read the shape of one array each, without dimensions of size one; those that cannot be read are a matter
            of their own video.
        where: The folder or file, for the line that says so.
    """
    known = [shape for shape in _readable(shapes) if len(shape) == 2]
    rows, columns = {shape[0] for shape in known}, {shape[1] for shape in known}
    found = len(rows) == 1 and len(columns) > 1
    if found:
        say_once(
            logger,
            where,
            f"all arrays have {next(iter(rows))} rows and differ in their columns, so they are read as (channels, "
            "time); --layout TC reads them as (time, channels)",
        )
    return found


def _readable(shapes: Iterable[Callable[[], tuple[int, ...]]]) -> Iterator[tuple[int, ...]]:
    for read in shapes:
        with contextlib.suppress(ValueError, OSError):
            yield read()
