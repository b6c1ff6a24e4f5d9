# SPDX-License-Identifier: Apache-2.0
"""C++ matching against numpy matching against the definition, on problems full of ties and empty segments."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asl_fast import native
from asl_fast.evaluation import CONVENTIONS, DEFAULT, Convention
from asl_fast.evaluation.matching import match_segments, match_segments_numpy, temporal_iou
from tests.drawing import draws

needs_native = pytest.mark.skipif(native.cpu_module() is None, reason=f"C++ module: {native.why_missing()}")
TIOUS = np.array([0.5, 0.1, 1.0, 0.75])  # on purpose unsorted


@st.composite
def problems(draw: st.DrawFn, reversed_too: bool = False) -> dict[str, Any]:
    """Segments on a coarse grid, so that equal overlaps, equal segments and zero lengths are common."""
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    num_groups = draw(st.integers(1, 4))
    sizes = random.integers(1, draw(st.sampled_from([2, 6, 40])), num_groups)
    count = draw(st.integers(0, 60))
    span = draw(st.sampled_from([3, 12, 50]))

    def segments(n: int) -> np.ndarray:
        values = random.integers(0, span, (n, 2)) / draw(st.sampled_from([1.0, 3.0]))
        return values if reversed_too else np.sort(values, axis=1)

    return {
        "segments_sec": segments(count),
        "group": random.integers(-1, num_groups, count),
        "annotations_sec": segments(int(sizes.sum())),
        "group_offsets": np.concatenate([[0], np.cumsum(sizes)]),
        "tiou_thresholds": TIOUS,
    }


def match_by_definition(problem: dict[str, Any], convention: Convention) -> np.ndarray:
    """One prediction, threshold and annotation at a time."""
    matched = np.full((len(TIOUS), len(problem["group"])), -1)
    for t, threshold in enumerate(TIOUS):
        taken: set[int] = set()
        for p, group in enumerate(problem["group"]):
            best, best_iou = -1, -1.0
            members = range(problem["group_offsets"][group], problem["group_offsets"][group + 1]) if group >= 0 else ()
            for a in members if convention.ties == "first" else reversed(members):
                iou = temporal_iou(problem["segments_sec"][[p]], problem["annotations_sec"][[a]], convention)[0]
                iou = np.inf if np.isnan(iou) else iou
                if a not in taken and iou >= threshold and iou > best_iou:
                    best, best_iou = a, iou
            if best >= 0:
                matched[t, p] = best
                taken.add(best)
    return matched


@pytest.mark.parametrize("ties", ["first", "last"])
@settings(max_examples=draws(60), deadline=None)
@given(problem=problems())
def test_numpy_matching_is_the_definition(ties: Any, problem: dict[str, Any]) -> None:
    convention = replace(DEFAULT, ties=ties)
    np.testing.assert_array_equal(
        match_segments_numpy(**problem, convention=convention), match_by_definition(problem, convention)
    )


@needs_native
@pytest.mark.parametrize("name", CONVENTIONS)
@settings(max_examples=draws(60), deadline=None)
@given(problem=problems(reversed_too=True))
def test_native_matching_equals_numpy(name: str, problem: dict[str, Any]) -> None:
    convention = CONVENTIONS[name]
    expected = match_segments_numpy(**problem, convention=convention)
    found = match_segments(**problem, convention=convention)
    assert found.dtype == expected.dtype
    if convention.ties == "argsort":
        # Identical annotations may trade places; which predictions are true positives is the same.
        np.testing.assert_array_equal(found >= 0, expected >= 0)
    else:
        np.testing.assert_array_equal(found, expected)


@needs_native
def test_native_matching_is_the_same_for_any_number_of_threads() -> None:
    random = np.random.default_rng(0)
    sizes = random.integers(1, 30, 50)
    starts = random.uniform(0, 100, (100_000, 1))
    annotations = random.uniform(0, 100, (int(sizes.sum()), 1))
    problem: dict[str, Any] = {
        "segments_sec": np.hstack([starts, starts + random.uniform(0, 20, starts.shape)]),
        "group": random.integers(-1, 50, len(starts)),
        "annotations_sec": np.hstack([annotations, annotations + random.uniform(0, 20, annotations.shape)]),
        "group_offsets": np.concatenate([[0], np.cumsum(sizes)]),
        "tiou_thresholds": TIOUS,
        "convention": DEFAULT,
    }
    expected = match_segments_numpy(**problem)
    assert (expected >= 0).sum() > 1000
    for threads in (0, 1, 2, 5):
        np.testing.assert_array_equal(match_segments(**problem, threads=threads), expected)


def test_without_the_native_module_numpy_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "cpu_module", lambda: None)
    problem: dict[str, Any] = {
        "segments_sec": np.array([[0.0, 10.0]]),
        "group": np.array([0]),
        "annotations_sec": np.array([[0.0, 10.0]]),
        "group_offsets": np.array([0, 1]),
        "tiou_thresholds": np.array([0.5]),
    }
    assert match_segments(**problem, convention=DEFAULT).tolist() == [[0]]


def test_numpy_matching_in_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    problem: dict[str, Any] = {
        "segments_sec": np.sort(random.uniform(0, 20, (300, 2)), axis=1),
        "group": random.integers(-1, 2, 300),
        "annotations_sec": np.sort(random.uniform(0, 20, (12, 2)), axis=1),
        "group_offsets": np.array([0, 5, 12]),
        "tiou_thresholds": TIOUS,
        "convention": DEFAULT,
    }
    whole = match_segments_numpy(**problem)
    assert (whole >= 0).any()
    for pairs in (1, 7, 100):
        monkeypatch.setattr("asl_fast.evaluation.matching._PAIRS", pairs)
        np.testing.assert_array_equal(match_segments_numpy(**problem), whole)


def test_temporal_iou_of_empty_and_reversed_segments() -> None:
    a = np.array([[0.0, 10.0], [5.0, 5.0], [5.0, 5.0], [10.0, 0.0], [8.0, 2.0]])
    b = np.array([[5.0, 10.0], [5.0, 5.0], [0.0, 10.0], [0.0, 10.0], [0.0, 10.0]])
    np.testing.assert_array_equal(temporal_iou(a, b, DEFAULT), [0.5, 0, 0, 0, 0])
    np.testing.assert_array_equal(temporal_iou(a, b, CONVENTIONS["epic"]), [0.5, np.nan, 0, np.nan, 0])
    np.testing.assert_array_equal(temporal_iou(a, b, CONVENTIONS["opentad"]), [0.5, 0, 0, 0, 0])
