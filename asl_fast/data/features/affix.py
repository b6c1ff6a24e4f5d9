# SPDX-License-Identifier: Apache-2.0
"""How the names of feature files differ from the names of videos: text before or after, or not at all alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from asl_fast.wording import closest

_COMPARED = 2000


class Affixes(NamedTuple):
    """Text before and after the video id in the name of its features."""

    prefix: str
    suffix: str

    def __str__(self) -> str:
        before, after = (f"{self.prefix!r} + " if self.prefix else ""), (f" + {self.suffix!r}" if self.suffix else "")
        return f"{before}video{after}"


class Hint(NamedTuple):
    """What was found, and what to do."""

    found: str
    fix: str


def common_affixes(video_ids: Iterable[str], names: Iterable[str]) -> tuple[Affixes, ...]:
    """Text around the video id in most of the names that hold one.

    Args:
        video_ids: Videos of the annotations.
        names: Names of feature files without extension, or of entries.

    Returns:
        Nothing where no name holds an id; several, in alphabetical order, where each video has several names, as the
        streams of one extractor have.
    """
    known = set(video_ids)
    lengths = {len(video) for video in known} - {0}
    videos: dict[Affixes, set[str]] = {}
    for name in names:
        if name in known:
            videos.setdefault(Affixes("", ""), set()).add(name)
            continue
        for length in lengths:
            for start in range(len(name) - length + 1):
                if name[start : start + length] in known:
                    affixes = Affixes(name[:start], name[start + length :])
                    videos.setdefault(affixes, set()).add(name[start : start + length])
    if not videos:
        return ()
    best = max(videos, key=lambda affixes: (len(videos[affixes]), affixes == ("", ""), affixes))
    if best == ("", "") or len(videos[best]) < 2:
        return (best,)
    return tuple(
        sorted(
            affixes
            for affixes, found in videos.items()
            if len(found & videos[best]) > len(found) // 2 and len(found) >= 0.9 * len(videos[best])
        )
    )


def several_streams(found: Sequence[Affixes], where: str) -> str:
    """Say that each video has several names, and how to choose among them."""
    named = " and ".join(map(str, found))
    part = 0 if len({affixes.prefix for affixes in found}) > 1 else 1
    option = ("--feature-prefix", "--feature-suffix")[part]
    texts = [affixes[part] for affixes in found]
    return (
        f"{where}: each video has several, named {named}: choose with {option}={texts[0]}, or put them side by side, "
        f"in this order of channels, with {option}={'+'.join(texts)}"
    )


def near_names(video_ids: Sequence[str], names: Sequence[str], expected: Affixes) -> Hint:
    """Why no feature is found.

    Args:
        video_ids: Videos of the annotations.
        names: Names of feature files without extension, or of entries.
        expected: What was expected around the id.
    """
    if not names:
        return Hint("there are none", "name the folder that holds the feature files")
    wanted, first = expected.prefix + video_ids[0] + expected.suffix, names[0]
    found = f"looked for {wanted!r}, found names like {first!r}"
    around = common_affixes(video_ids, names)
    if around:
        before, after = around[0]
        return Hint(
            f"{found}; names there are {around[0]}",
            f'give --feature-prefix="{before}" --feature-suffix="{after}", or rename the files',
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
