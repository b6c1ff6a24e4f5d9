# SPDX-License-Identifier: Apache-2.0
"""Video-level class scores, and verbs with nouns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asl_fast.evaluation import combine_verbs_and_nouns, fuse_video_scores

FOUND: dict[str, Any] = {
    "video": ["b", "a", "b"],
    "segments": [[0.0, 1.0], [2.0, 5.0], [3.0, 4.0]],
    "labels": [0, 0, 0],
    "scores": [0.25, 0.16, 0.81],
}
CLASSES = {"a": [0.0, 0.64, 0.36], "b": np.array([0.25, 0.25, 0.01])}


def test_every_detection_gets_the_best_classes_of_its_video() -> None:
    fused = fuse_video_scores(FOUND, CLASSES)
    rows = {
        (video, tuple(segment), label): score
        for video, segment, label, score in zip(
            fused["video"].tolist(),
            fused["segments"].tolist(),
            fused["labels"].tolist(),
            fused["scores"].tolist(),
            strict=True,
        )
    }
    assert rows == pytest.approx(
        {
            ("b", (3.0, 4.0), 0): 0.45,
            ("b", (0.0, 1.0), 0): 0.25,
            ("b", (3.0, 4.0), 1): 0.45,
            ("b", (0.0, 1.0), 1): 0.25,
            ("a", (2.0, 5.0), 1): 0.32,
            ("a", (2.0, 5.0), 2): 0.24,
        }
    )


def test_names_limits_and_empty_input() -> None:
    fused = fuse_video_scores(FOUND, CLASSES, ["x", "y", "z"], top_classes=1, max_per_video=1)
    assert fused["labels"].tolist() == ["x", "y"]
    assert fused["scores"].tolist() == pytest.approx([0.45, 0.32])
    empty = fuse_video_scores({name: [] for name in FOUND}, CLASSES)
    assert empty["segments"].shape == (0, 2) and len(empty["scores"]) == 0


@pytest.mark.parametrize(
    ("found", "classes", "options", "error", "message"),
    [
        (FOUND, {"a": [1.0]}, {}, KeyError, "video_scores has no video 'b'"),
        ({**FOUND, "scores": [0.1, -0.2, 0.3]}, CLASSES, {}, ValueError, r"\['scores'\]\[1\] is -0.2"),
        (FOUND, CLASSES, {"class_names": ["x"]}, ValueError, r"must have shape \(1,\); found \(3,\)"),
        (FOUND, CLASSES | {"b": [float("nan"), 1.0]}, {}, ValueError, "must not be negative or NaN"),
        (FOUND, CLASSES, {"top_classes": 0}, ValueError, "top_classes must be at least 1"),
    ],
)
def test_unusable_scores_are_named(
    found: Any, classes: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        fuse_video_scores(found, classes, **options)


VERBS: dict[str, Any] = {
    "video": ["a", "a", "b"],
    "segments": [[0.0, 10.0], [20.0, 30.0], [0.0, 10.0]],
    "labels": [1, 2, 3],
    "scores": [0.9, 0.4, 0.5],
}
NOUNS: dict[str, Any] = {
    "video": ["a", "a", "c"],
    "segments": [[0.0, 8.0], [21.0, 30.0], [0.0, 10.0]],
    "labels": [7, 8, 9],
    "scores": [0.1, 0.4, 0.5],
}


def test_overlapping_verbs_and_nouns_make_actions() -> None:
    actions = combine_verbs_and_nouns(VERBS, NOUNS)
    assert actions["video"].tolist() == ["a", "a"]
    assert actions["verb"].tolist() == [2, 1]
    assert actions["noun"].tolist() == [8, 7]
    np.testing.assert_allclose(actions["scores"], [0.4, 0.3])
    np.testing.assert_allclose(actions["segments"], [[20.5, 30.0], [0.0, 9.8]])
    heavier = combine_verbs_and_nouns(VERBS, NOUNS, verb_weight=1.0, max_per_video=1)
    assert heavier["scores"].tolist() == [0.9]
    assert len(combine_verbs_and_nouns(VERBS, NOUNS, min_tiou=0.95)["scores"]) == 0
    assert len(combine_verbs_and_nouns({name: [] for name in VERBS}, NOUNS)["scores"]) == 0


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"labels": ["x", "y", "z"]}, {}, "integer class ids; found 'x'"),
        ({"scores": [0.1, 0.2, -1.0]}, {}, "must not be negative"),
        ({}, {"min_tiou": 0.0}, "min_tiou must be in"),
        ({}, {"verb_weight": 1.5}, "verb_weight in"),
    ],
)
def test_unusable_verbs_are_named(change: dict[str, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        combine_verbs_and_nouns({**VERBS, **change}, NOUNS, **options)
