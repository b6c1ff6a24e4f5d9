# SPDX-License-Identifier: Apache-2.0
"""Which videos of one's own data set to train on and which to score on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from asl_fast.data.annotations.video import Annotations, Video
from asl_fast.data.custom.decision import Decision
from asl_fast.wording import count

_TRAIN = ("training", "train", "trainval")
_VALIDATION = ("validation", "valid", "val", "dev")
_TEST = ("testing", "test", "eval", "evaluation")


@dataclass(frozen=True)
class SplitRule:
    """How to split.

    Attributes:
        train: Subset to train on; None finds it by its name.
        test: Subset to score on; None finds it by its name. The same as ``train`` holds videos out of that one.
        holdout_share: Share of the videos that is held out where there is one subset.
        seed: Of the videos held out.
    """

    train: str | None = None
    test: str | None = None
    holdout_share: float = 0.2
    seed: int = 0


def split(
    annotations: Annotations, usable: Sequence[Video], rule: SplitRule
) -> tuple[tuple[Video, ...], tuple[Video, ...], SplitRule, Decision]:
    """Training and test videos (all of the subsets), the rule with its subsets named, and the reason.

    By their names: train on "training", score on "validation", which leaves a "test" subset untouched; without a
    training subset, as in THUMOS14, train on "validation" and score on "test". Subsets without annotated instances are
    not chosen.

    Args:
        annotations: All videos.
        usable: Those that have features; videos are held out among these, and counted in the reason.
        rule: What was asked for.

    Raises:
        ValueError: When subsets cannot be told apart by name, one that was asked for is not there, or there are too few
            videos to hold one out.
    """
    if not 0 < rule.holdout_share < 1:
        raise ValueError(f"data.holdout_share must lie between 0 and 1, found {rule.holdout_share}")
    names = [name for name in annotations.subsets if any(len(v.labels) for v in annotations.subset(name))]
    if not names:
        raise ValueError(f"{annotations.name}: no video has an annotation; is 'annotations' of each video filled in?")
    chosen = (rule.train, rule.test)
    why = "as asked for"
    if None in chosen:
        found = _by_name(annotations.name, names)
        why = "by its name" if chosen != (None, None) else f"subsets are {', '.join(map(repr, annotations.subsets))}"
        chosen = (rule.train or found[0], rule.test or (rule.train if rule.train and len(names) == 1 else found[1]))
    train, test = chosen
    assert train is not None and test is not None
    named = SplitRule(train, test, rule.holdout_share, rule.seed)
    ids = {video.id for video in usable}
    learning, scored = annotations.subset(train), annotations.subset(test)

    def number(videos: Sequence[Video]) -> int:
        return sum(video.id in ids for video in videos)

    if train.lower() == test.lower():
        learning, scored = _hold_out(annotations.name, learning, ids, rule)
        value = f"{count(number(learning), 'video')} to train on, {number(scored)} held out to score on"
        alone = f"there is one subset, {train!r}"
        if len(annotations.subsets) > 1:
            alone = (
                f"only subset {train!r} has annotations" if len(names) == 1 else f"subset {train!r} was asked for alone"
            )
        why = (
            f"{alone}, so {rule.holdout_share:.0%} of its videos are held out at random "
            f"(--data.holdout-share, --data.split-seed {rule.seed})"
        )
        return learning, scored, named, Decision("split", value, why)
    for name, videos in ((train, learning), (test, scored)):
        if not number(videos):
            raise ValueError(
                f"{annotations.name}: no video of subset {name!r} has features ({len(ids)} of "
                f"{count(len(annotations.videos), 'video')} have); add them, or choose other subsets with "
                "--data.train-subset and --data.test-subset"
            )
    value = f"train on {train!r} ({count(number(learning), 'video')}), score on {test!r} ({number(scored)})"
    return learning, scored, named, Decision("split", value, why)


def _by_name(name: str, subsets: Sequence[str]) -> tuple[str, str]:
    if len(subsets) == 1:
        return subsets[0], subsets[0]

    def first(known: Sequence[str]) -> str | None:
        return next((subset for key in known for subset in subsets if subset.lower() == key), None)

    training, validation, test = first(_TRAIN), first(_VALIDATION), first(_TEST)
    train = training or validation
    scored = (validation if training else None) or test
    if train is None or scored is None:
        raise ValueError(
            f"{name}: subsets {', '.join(map(repr, subsets))}; which to train on and which to score on? "
            "Choose --data.train-subset and --data.test-subset"
        )
    return train, scored


def _hold_out(
    name: str, videos: Sequence[Video], usable: Collection[str], rule: SplitRule
) -> tuple[tuple[Video, ...], tuple[Video, ...]]:
    """Draw among usable videos with instances, so that there is something to score, in whatever order they come."""
    ids = sorted(video.id for video in videos if len(video.labels) and video.id in usable)
    if len(ids) < 2:
        raise ValueError(
            f"{name}: {count(len(ids), 'video')} with features and annotations; at least two are needed, one to train "
            "on and one to score on"
        )
    number = min(max(1, round(rule.holdout_share * len(ids))), len(ids) - 1)
    held = {ids[i] for i in np.random.default_rng(rule.seed).permutation(len(ids))[:number]}
    return tuple(v for v in videos if v.id not in held), tuple(v for v in videos if v.id in held)
