# SPDX-License-Identifier: Apache-2.0
"""How the names of feature files differ from the names of videos: a prefix, an extension, or not at all alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from asl_fast.wording import closest

_COMPARED = 2000


class Hint(NamedTuple):
    """What was found, and what to do."""

    found: str
    fix: str


def common_prefix(video_ids: Iterable[str], names: Iterable[str]) -> str | None:
    """Text before the video id in most of the names that hold one; ``""`` where names are ids, None without a match."""
    return _most_common(name[: -len(key)] for key, name in _ending_alike(video_ids, names))


def near_names(video_ids: Sequence[str], names: Sequence[str], prefix: str) -> Hint:
    """Why no feature is found.

    Args:
        video_ids: Videos of the annotations.
        names: Names of feature files without extension, or of entries.
        prefix: What was expected before the id.
    """
    if not names:
        return Hint("there are none", "name the folder that holds the feature files")
    wanted, first = prefix + video_ids[0], names[0]
    found = f"looked for {wanted!r}, found names like {first!r}"
    before = common_prefix(video_ids, names)
    if before is not None:
        return Hint(
            f"{found}; names there begin with {before!r}" if before else f"{found}; names there have no prefix",
            f'give --manifest FILE with {{"prefix": "{before}"}}, or rename the files',
        )
    extra = _most_common(key[: -len(name)] for name, key in _ending_alike(names, video_ids))
    if extra:
        return Hint(
            f"{found}; annotations begin with {extra!r}, files do not",
            f"rename the files to {extra}NAME, or the videos",
        )
    extension = _most_common(key[len(name) :] for name, key in _starting_alike(names, video_ids))
    if extension:
        return Hint(f"{found}; annotations end in {extension!r}, files do not", f"remove {extension!r} from the videos")
    after = _most_common(name[len(key) :] for key, name in _starting_alike(video_ids, names))
    if after:
        return Hint(f"{found}; file names end in {after!r}, videos do not", f"remove {after!r} from the file names")
    close = closest(wanted, names[:_COMPARED])
    near = f"; the nearest is {close!r}" if close is not None else ""
    return Hint(found + near, "are these the features of these videos? Their names must be the same")


def _most_common(found: Iterable[str]) -> str | None:
    counts = Counter(found)
    return counts.most_common(1)[0][0] if counts else None


def _ending_alike(short: Iterable[str], long: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs in which the second ends with the first."""
    known = set(short)
    return [(name[cut:], name) for name in long for cut in range(len(name)) if name[cut:] in known]


def _starting_alike(short: Iterable[str], long: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs in which the second begins with the first."""
    known = set(short)
    return [(name[:cut], name) for name in long for cut in range(1, len(name) + 1) if name[:cut] in known]
