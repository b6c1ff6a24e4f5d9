# SPDX-License-Identifier: Apache-2.0
"""Which way round arrays lie, (time, channels) or (channels, time), found out from the shapes of several."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from asl_fast.wording import say_once

logger = logging.getLogger(__name__)
COMPARED, COMPARED_WHOLE = 32, 4
"""Arrays that are looked at; fewer where a file has no header, so that each is read whole."""


def readable_shapes(shapes: Iterable[Callable[[], tuple[int, ...]]]) -> list[tuple[int, ...]]:
    """Read the shapes of arrays, without dimensions of size one, as far as they can be read.

    Args:
        shapes: Read the shape of one array each; what cannot be read is a matter of its own video.

    Raises:
        ValueError, OSError: As the first, when none can be read.
    """
    found, first = [], None
    for read in shapes:
        try:
            found.append(read())
        except (ValueError, OSError) as error:
            first = first or error
    if first is not None and not found:
        raise first
    return found


def usual_width(shapes: Sequence[tuple[int, ...]], *, transposed: bool) -> int:
    """Return the width that most arrays have, the first of those on a tie: one odd file costs that file alone.

    Args:
        shapes: Of some arrays.
        transposed: They are (D, T).
    """
    widths = [shape[0] if transposed else shape[-1] for shape in shapes if len(shape) == 2 and 0 not in shape]
    # Without any, 1: reading each array says what its shape should be.
    return Counter(widths).most_common(1)[0][0] if widths else 1


def is_transposed(shapes: Iterable[tuple[int, ...]], where: str) -> bool:
    """Find out whether arrays are (D, T): they then have as many rows each, and numbers of columns that differ.

    Args:
        shapes: Of some arrays, without dimensions of size one.
        where: The folder or file, for the line that says so.
    """
    known = [shape for shape in shapes if len(shape) == 2]
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
