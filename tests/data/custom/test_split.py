# SPDX-License-Identifier: Apache-2.0
"""Subsets are found by their names; where there is one, videos are held out."""

from __future__ import annotations

import pytest

from asl_fast.data.annotations.video import Annotations, Video
from asl_fast.data.custom.split import SplitRule, split
from tests.data.helpers import video


def annotations(*subsets: str, without: tuple[str, ...] = (), each: int = 5) -> Annotations:
    """Take some videos of every subset; those in ``without`` have no instance."""
    found: dict[str, Video] = {}
    for subset in subsets:
        for index in range(each):
            segments = () if subset in without else ((1.0, 2.0),)
            found[f"{subset}{index}"] = video(f"{subset}{index}", segments=segments, subset=subset)
    return Annotations("mine", ("a",), found)


def subsets(data: Annotations, rule: SplitRule | None = None) -> tuple[str | None, str | None]:
    return (found := split(data, list(data.videos.values()), rule or SplitRule())[2]).train, found.test


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("training", "validation"), ("training", "validation")),
        (("train", "val"), ("train", "val")),
        (("Train", "Test"), ("Train", "Test")),
        (("train", "val", "test"), ("train", "val")),
        (("test", "training"), ("training", "test")),
        (("Validation", "Test"), ("Validation", "Test")),
    ],
)
def test_by_name(names: tuple[str, ...], expected: tuple[str, str]) -> None:
    assert subsets(annotations(*names)) == expected


def test_subsets_without_annotations_are_not_scored() -> None:
    assert subsets(annotations("training", "validation", "testing", without=("testing",))) == ("training", "validation")
    assert subsets(annotations("training", "validation", "test", without=("validation",))) == ("training", "test")


def test_names_that_say_nothing() -> None:
    data = annotations("kitchen", "garden")
    with pytest.raises(ValueError, match=r"mine: subsets 'kitchen', 'garden'; which .*--data\.train-subset"):
        subsets(data)
    assert subsets(data, SplitRule("garden", "kitchen")) == ("garden", "kitchen")
    with pytest.raises(ValueError, match="no video in subset 'cellar'"):
        subsets(data, SplitRule("garden", "cellar"))


def test_hold_out_depends_on_the_seed_alone() -> None:
    data = annotations("all", each=20)
    videos = list(data.videos.values())

    def held(seed: int, order: list[Video]) -> set[str]:
        train, test, rule, why = split(data, order, SplitRule(seed=seed))
        assert (rule.train, rule.test) == ("all", "all")
        assert "one subset, 'all', so 20% of its videos are held out" in str(why)
        assert len(train) == 16 and not {v.id for v in train} & {v.id for v in test}
        return {v.id for v in test}

    assert held(0, videos) == held(0, videos[::-1]) != held(1, videos)
    assert len(held(0, videos)) == 4
    train, test, *_ = split(data, videos, SplitRule(holdout_share=0.5))
    assert len(train) == len(test) == 10


def test_the_reason_says_what_became_of_other_subsets() -> None:
    data = annotations("train", "test", without=("test",))
    assert "only subset 'train' has annotations, so 20%" in str(split(data, data.subset("train"), SplitRule())[3])
    data = annotations("train", "test")
    asked = SplitRule("test", "test")
    assert "subset 'test' was asked for alone, so 20%" in str(split(data, list(data.videos.values()), asked)[3])


def test_two_videos_are_enough_and_one_is_not() -> None:
    data = annotations("all", each=2)
    train, test, *_ = split(data, list(data.videos.values()), SplitRule())
    assert len(train) == len(test) == 1
    with pytest.raises(ValueError, match="1 video with features and annotations; at least two are needed"):
        split(data, list(data.videos.values())[:1], SplitRule())


def test_nothing_to_split() -> None:
    empty = annotations("all", without=("all",))
    with pytest.raises(ValueError, match="no video has an annotation"):
        subsets(empty)
    data = annotations("train", "test")
    with pytest.raises(ValueError, match=r"no video of subset 'test' has features \(5 of 10 videos have\)"):
        split(data, list(data.subset("train")), SplitRule())
    with pytest.raises(ValueError, match=r"holdout_share must lie between 0 and 1, found 1\.5"):
        split(data, [], SplitRule(holdout_share=1.5))
