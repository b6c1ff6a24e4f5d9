# SPDX-License-Identifier: Apache-2.0
"""Which class annotated actions are taken for, on cases small enough to judge by eye."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asl_fast.evaluation.confusion import confusion
from tests.evaluation import golden

TRUTH: dict[str, Any] = {
    "video": ["a", "a", "b", "b"],
    "segments": [[0.0, 10.0], [20.0, 30.0], [0.0, 10.0], [50.0, 60.0]],
    "labels": ["run", "jump", "run", "sit"],
}
FOUND: dict[str, Any] = {
    "video": ["a", "a", "a", "b", "b", "c"],
    "segments": [[0, 10], [0, 9], [20, 29], [0, 4], [50, 60], [50, 60]],
    "labels": ["run", "jump", "run", "run", "never annotated", "sit"],
    "scores": [0.5, 0.6, 0.7, 0.9, 0.9, 0.9],
}


def test_the_surest_detection_in_the_place_decides() -> None:
    found = confusion(TRUTH, FOUND)
    assert found.classes.tolist() == ["jump", "run", "sit"]
    # Jumping is taken for running, running once for jumping; the other run and sitting are not found: too short an
    # overlap, a class that is not scored, another video.
    assert found.counts.tolist() == [[0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 0, 1]]


def test_below_a_score_nothing_counts() -> None:
    assert confusion(TRUTH, FOUND, min_score=0.65).counts.tolist() == [[0, 1, 0, 0], [0, 0, 0, 2], [0, 0, 0, 1]]
    assert confusion(TRUTH, FOUND, tiou=0.4).counts[1].tolist() == [1, 1, 0, 0]


def test_of_equally_sure_ones_the_right_class_counts() -> None:
    tied = FOUND | {"scores": [0.6, 0.6, 0.7, 0.9, 0.9, 0.9]}
    assert confusion(TRUTH, tied).counts[1].tolist() == [0, 1, 0, 1]


def test_without_detections_all_are_missed() -> None:
    nothing: dict[str, Any] = {"video": [], "segments": [], "labels": [], "scores": []}
    assert confusion(TRUTH, nothing).counts[:, -1].tolist() == [1, 2, 1]


def test_agrees_with_one_annotation_at_a_time() -> None:
    data = golden.load("thumos14_test")
    truth, found = golden.ground_truth(data), golden.predictions(data)
    result = confusion(truth, found, tiou=0.5, min_score=0.1)
    assert result.counts.sum() == len(truth["video"])
    position = {label: place for place, label in enumerate(result.classes.tolist())}
    expected = np.zeros_like(result.counts)
    video, segments = np.asarray(found["video"]), np.asarray(found["segments"])
    labels, scores = np.asarray(found["labels"]), np.asarray(found["scores"])
    for name, (start, end), label in zip(truth["video"], truth["segments"], truth["labels"], strict=True):
        shared = (np.minimum(segments[:, 1], end) - np.maximum(segments[:, 0], start)).clip(0)
        union = (segments[:, 1] - segments[:, 0]) + (end - start) - shared
        near = (video == name) & (shared >= 0.5 * union) & (scores >= 0.1) & np.isin(labels, result.classes)
        best = labels[near][np.argmax(scores[near])] if near.any() else None
        expected[position[label], -1 if best is None else position[best]] += 1
    assert np.abs(result.counts - expected).sum() <= 2  # equally sure ones


def test_videos_and_classes_may_be_numbers() -> None:
    truth = {"video": [1, 10], "segments": [[0, 1], [0, 1]], "labels": [3, 4]}
    found = {"video": [10, 1], "segments": [[0, 1], [0, 1]], "labels": [4, 4], "scores": [0.5, 0.5]}
    assert confusion(truth, found).counts.tolist() == [[0, 1, 0], [0, 1, 0]]


def test_tables_that_do_not_speak_of_the_same_are_refused() -> None:
    with pytest.raises(TypeError, match="labels"):
        confusion(TRUTH, FOUND | {"labels": [1, 2, 3, 4, 5, 6]})
