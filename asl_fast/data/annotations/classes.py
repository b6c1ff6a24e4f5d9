# SPDX-License-Identifier: Apache-2.0
"""Which classes a data set has: ids in files are names, and what they are numbered by here is their order."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

logger = logging.getLogger(__name__)

DENSE_BELOW = 1000
"""Ids up to here count classes, as in every benchmark, so that those in between that never occur are classes too."""
DENSE_SHARE = 4
"""Beyond it they do where at least one in so many occurs."""


class Classes(NamedTuple):
    """Names by label, and the label by what a file calls the class: its name or its id."""

    names: tuple[str, ...]
    labels: Mapping[str | int, int]


def ids_count(ids: Collection[int], first: int = 0) -> bool:
    """Whether ids count classes from ``first`` on; otherwise they are mere names, however large."""
    last = max(ids, default=first)
    return last - first < max(DENSE_BELOW, DENSE_SHARE * len(ids))


def number_classes(by_id: Mapping[int, str], bare_ids: Iterable[int], without_id: Iterable[str], where: str) -> Classes:
    """Give labels to classes.

    Ids that count classes are the labels, and one that never occurs is called ``unused_<id>``. Ids that do not, such as
    keys of a data base, are taken as names: the classes that occur are numbered in their order. Names that have no id
    follow in alphabetical order.

    Args:
        by_id: Names of classes that have an id.
        bare_ids: Ids that stand for a class by themselves, called ``class_<id>`` where they have no name.
        without_id: Names of the others.
        where: The file, for messages.
    """
    occurring = sorted({*by_id, *bare_ids})
    extra = sorted(without_id)
    bare = frozenset(bare_ids)
    ids: Iterable[int] = occurring
    if occurring and ids_count(occurring):
        ids = range(occurring[-1] + 1)
    elif occurring:
        logger.warning(
            "%s: class ids go up to %d, but %d occur: they are taken as names, numbered in their order",
            where,
            occurring[-1],
            len(occurring),
        )
    if occurring and extra:
        logger.warning(
            "%s: classes without label_id, such as %r, are numbered after those with one (%d)",
            where,
            extra[0],
            len(occurring),
        )
    names: list[str] = []
    labels: dict[str | int, int] = {}
    for index, class_id in enumerate(ids):
        labels[class_id] = index
        names.append(by_id.get(class_id, f"class_{class_id}" if class_id in bare else f"unused_{class_id}"))
    labels |= {name: labels[class_id] for class_id, name in by_id.items()}
    labels |= {name: len(names) + index for index, name in enumerate(extra)}
    # What was made up for a class without a name is understood as well, unless a class is called so.
    labels = {**{name: index for index, name in enumerate(names)}, **labels}
    return Classes((*names, *extra), labels)
