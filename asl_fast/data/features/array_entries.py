# SPDX-License-Identifier: Apache-2.0
"""Which of the arrays in one file holds the features."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from asl_fast.wording import say_once

logger = logging.getLogger(__name__)
USUAL_KEYS = ("feats", "features", "feat", "feature", "arr_0", "data")


class Unusable(ValueError):
    """A file is intact but not what is needed; the message does not name it yet."""


def choose_key(entries: Iterable[str], key: str | None) -> str:
    """Entry to read: the one asked for, the only one, or one with a usual name.

    Raises:
        Unusable: Listing the entries when that is not clear.
    """
    names = list(entries)
    if key is not None:
        if key not in names:
            raise Unusable(no_entry(key, names))
        return key
    if len(names) == 1:
        return names[0]
    usual = [name for name in USUAL_KEYS if name in names]
    if not usual:
        listed = ", ".join(map(repr, names[:8]))
        raise Unusable(
            f'which of its entries holds the features? It has {listed}: choose with --feature-key NAME ("key" in a '
            "manifest); NAME+NAME puts several side by side"
        )
    listed = ", ".join(map(repr, names[:8]))
    told = f"of the entries {listed} of a file, {usual[0]!r} is read; --feature-key NAME reads another"
    say_once(logger, "features", told)
    return usual[0]


def no_entry(key: str, names: Iterable[str]) -> str:
    """Say that an entry is not there, and which are."""
    return f"no entry {key!r}, found {', '.join(map(repr, list(names)[:8])) or 'nothing'}"
