# SPDX-License-Identifier: Apache-2.0
"""Resampled mean average precision against recordings copied for real, and intervals that hold what they promise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from asl_fast.evaluation.mean_ap import mean_average_precision
from benchmarks import resampling
from benchmarks.resampling import draw_recordings, interval, match_run, resampled_map

THRESHOLDS = (0.3, 0.5, 0.7)
Table = dict[str, NDArray[Any]]


def scene(rng: np.random.Generator, recordings: int, classes: int) -> tuple[Table, Table, tuple[str, ...]]:
    """Annotations, detections near them and elsewhere, and names; some recordings have neither."""
    truth: list[tuple[str, list[float], str]] = []
    found: list[tuple[str, list[float], str, float]] = []
    names = tuple(f"r{index}" for index in range(recordings))
    for name in names:
        for _ in range(rng.integers(0, 5)):
            start, label = float(rng.uniform(0, 90)), f"c{rng.integers(classes)}"
            end = start + float(rng.uniform(2, 8))
            truth.append((name, [start, end], label))
            for _ in range(rng.integers(0, 4)):
                shift = rng.normal(0, 1.0, 2)
                found.append((name, [start + shift[0], max(end + shift[1], start + shift[0])], label, rng.uniform()))
        for _ in range(rng.integers(0, 6)):
            start = float(rng.uniform(0, 90))
            found.append((name, [start, start + 3.0], f"c{rng.integers(classes + 1)}", rng.uniform()))
    return columns(truth), columns(found), names


def columns(rows: list[Any]) -> Table:
    table = {
        "video": np.array([row[0] for row in rows]),
        "segments": np.array([row[1] for row in rows], dtype=np.float64).reshape(-1, 2),
        "labels": np.array([row[2] for row in rows]),
    }
    return table | ({"scores": np.array([row[3] for row in rows])} if rows and len(rows[0]) > 3 else {})


def copied(table: Table, names: tuple[str, ...], weights: NDArray[np.int64]) -> Table:
    """Give every recording as many copies, with names of their own, as it was drawn."""
    copies = [
        (np.flatnonzero(table["video"] == name), f"{name}-{copy:02d}")
        for name, times in zip(names, weights.tolist(), strict=True)
        for copy in range(times)
    ]
    rows = np.concatenate([index for index, _ in copies])
    video = np.concatenate([np.full(len(index), name) for index, name in copies])
    return {key: video if key == "video" else values[rows] for key, values in table.items()}


@pytest.mark.parametrize("block", [None, 1])
def test_the_same_as_recordings_copied_for_real(monkeypatch: pytest.MonkeyPatch, block: int | None) -> None:
    if block is not None:
        monkeypatch.setattr(resampling, "_BLOCK", block)
    rng = np.random.default_rng(0)
    truth, found, names = scene(rng, recordings=9, classes=3)
    weights = draw_recordings(len(names), 12, rng)
    fast = resampled_map(match_run(truth, found, names, THRESHOLDS), weights)
    for row, times in zip(fast, weights, strict=True):
        slow = mean_average_precision(copied(truth, names, times), copied(found, names, times), THRESHOLDS)
        np.testing.assert_allclose(row, slow.map, rtol=0, atol=1e-12)


def test_every_recording_once_is_the_score_itself() -> None:
    truth, found, names = scene(np.random.default_rng(1), recordings=20, classes=4)
    once = resampled_map(match_run(truth, found, names, THRESHOLDS), np.ones((1, len(names)), dtype=np.int64))
    expected = mean_average_precision(truth, found, THRESHOLDS)
    np.testing.assert_allclose(once[0], expected.map, rtol=0, atol=1e-12)


def test_a_draw_without_annotations_scores_nothing() -> None:
    truth, found, _ = scene(np.random.default_rng(2), recordings=4, classes=2)
    names = ("r0", "r1", "r2", "r3", "silent")
    weights = np.array([[0, 0, 0, 0, 5]])
    assert resampled_map(match_run(truth, found, names, THRESHOLDS), weights).tolist() == [[0.0] * 3]


def test_no_detection_scores_nothing() -> None:
    truth, found, names = scene(np.random.default_rng(3), recordings=4, classes=2)
    none = {key: values[:0] for key, values in found.items()}
    run = match_run(truth, none, names, THRESHOLDS)
    assert resampled_map(run, draw_recordings(4, 3, np.random.default_rng(0))).max() == 0.0


def test_a_recording_that_was_not_scored_is_named() -> None:
    truth, found, names = scene(np.random.default_rng(4), recordings=4, classes=2)
    with pytest.raises(ValueError, match="recording 'r3' is not among the 3"):
        match_run(truth, found, names[:3], THRESHOLDS)


def test_draws_hold_as_many_recordings_as_there_are() -> None:
    weights = draw_recordings(7, 50, np.random.default_rng(0))
    assert weights.shape == (50, 7) and (weights.sum(axis=1) == 7).all()


@pytest.mark.parametrize(("seeds", "recordings"), [(5, 40), (3, 19), (2, 40), (1, 40)])
def test_intervals_hold_the_truth_as_often_as_they_say(seeds: int, recordings: int) -> None:
    """Differences of a known mean, which vary with the seed, with the recording, and with both together."""
    rng = np.random.default_rng(seeds)
    mean, held, trials = 0.02, 0, 600
    for _ in range(trials):
        # One seed cannot show how much seeds vary, so its interval speaks of recordings alone.
        of_seeds = rng.normal(0, 0.01, (seeds, 1)) if seeds > 1 else np.zeros((1, 1))
        each = mean + of_seeds + rng.normal(0, 0.05, recordings) + rng.normal(0, 0.02, (seeds, recordings))
        weights = draw_recordings(recordings, 400, rng)
        found = interval(each.mean(axis=1), weights @ each.T / recordings, recordings, rng)
        assert found.low <= found.mean <= found.high
        held += found.low <= mean <= found.high
    # 600 trials at 95 % have a standard deviation of 0.9 %; being too wide is the lesser fault.
    assert 0.925 <= held / trials <= 0.995


def test_an_interval_of_one_seed_and_one_recording_is_a_point() -> None:
    found = interval(np.array([0.1]), np.full((50, 1), 0.1), 1, np.random.default_rng(0))
    assert (found.low, found.mean, found.high) == (0.1, 0.1, 0.1)
