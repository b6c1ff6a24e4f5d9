# SPDX-License-Identifier: Apache-2.0
"""Further names of an option, noted at a field of a dataclass that knows nothing of how options are read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AlsoCalled:
    """``Annotated[bool, AlsoCalled("--strict")]``: a short name of an option that lies in a group.

    Args:
        name: As it is written on the command line.
    """

    name: str
