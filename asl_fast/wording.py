# SPDX-License-Identifier: Apache-2.0
"""Words for messages: counts with their noun, a few examples of many, and what a misspelt name may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Say ``1 video``, ``2 videos``, ``3 classes``."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def examples(names: Sequence[str], shown: int = 3) -> str:
    """Say ``a, b, c and 4 more``."""
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")


def closest(name: str, known: Iterable[str]) -> str | None:
    """Find the known name that is most alike, upper and lower case being one; None where none is much alike."""
    by_lower = {each.lower(): each for each in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return by_lower[found[0]] if found else None


def nearest(name: str, known: Iterable[str]) -> str:
    """Say ``did you mean 'x'?`` for the closest known name, or list all names where none is close."""
    known = list(known)
    found = closest(name, known)
    return f"did you mean {found!r}?" if found is not None else f"known are {', '.join(known)}"
