# SPDX-License-Identifier: Apache-2.0
"""A long sequence gives in windows what it gives in one pass; the receptive field is as wide as it is said to be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asl_fast.models.config import DetectorConfig, InferenceConfig
from asl_fast.models.detector import ActionDetector
from asl_fast.models.postprocess import Detections, candidates, joined
from asl_fast.models.receptive_field import Reach, receptive_field
from asl_fast.models.windows import UnboundedReachError, is_long, windows
from asl_fast.models.windows import windowed_candidates as levels_of_windows
from tests.drawing import draws
from tests.models.test_detector import VARIANTS, build, run

WINDOWED = {name: config for name, config in VARIANTS.items() if receptive_field(config) is not None} | {
    "actionformer's norms": replace(VARIANTS["windowed"], mask_norms=False),
    "actionformer's positions": replace(VARIANTS["absolute"], mask_norms=False),
    "deep": replace(VARIANTS["fpn"], num_levels=5, attention_windows=(3, 5, 3, 7, 3), head_layers=2),
}
ALL = InferenceConfig(score_threshold=0.0, min_length_grid=-1.0, candidates_per_level=10**6)


def whole(detector: ActionDetector, features: torch.Tensor, config: InferenceConfig) -> Detections:
    return joined(candidates(run(detector, [features], len(features)), config)[0])


def windowed_candidates(*arguments: Any, **options: Any) -> Detections:
    return joined(levels_of_windows(*arguments, **options))


def _slices(features: torch.Tensor) -> Callable[[int, int], torch.Tensor]:
    return lambda first, last: features[first:last]


def in_order(found: Detections) -> torch.Tensor:
    """Rows of start, end, label and score, in an order that rounding does not change."""
    rows = torch.column_stack((found.segments.double(), found.labels.double(), found.scores.double()))
    keys = rows.round(decimals=3).tolist()
    return rows[sorted(range(len(rows)), key=keys.__getitem__)]


@pytest.mark.parametrize("name", WINDOWED)
def test_windows_give_what_one_pass_gives(name: str) -> None:
    detector = build(WINDOWED[name])
    for num_steps in (301, 320):
        features = torch.randn(num_steps, detector.config.feature_dim, dtype=torch.float64)
        expected = in_order(whole(detector, features, ALL))
        for core in (16, 40):
            found = windowed_candidates(detector, _slices(features), num_steps, ALL, core_grid=core)
            torch.testing.assert_close(in_order(found), expected, atol=2e-4, rtol=1e-5)


@pytest.mark.parametrize("name", WINDOWED)
def test_what_lies_beyond_the_receptive_field_changes_nothing_and_within_it_something(name: str) -> None:
    """Shifting the input by all grid steps of a coarsest point shows every alignment of the levels."""
    detector = build(replace(WINDOWED[name], positions="none"))
    reach, length = receptive_field(detector.config), 256
    assert reach is not None
    features = torch.randn(length, detector.config.feature_dim, dtype=torch.float64)
    left = right = 0
    before = run(detector, [features], length)
    for changed in range(120, 120 + detector.length_multiple):
        other = features.clone()
        other[changed] += 100.0
        after = run(detector, [other], length)
        for level, points in enumerate(before.points):
            heads = ((x.logits[level], x.offsets[level]) for x in (before, after))
            differs = torch.stack([(a != b).any(-1)[0] for a, b in zip(*heads, strict=True)]).any(0)
            times = points[differs, 0]
            left = max(left, int((times - changed).max()))
            right = max(right, int((changed - times).max()))
    assert left <= reach.left_grid and right <= reach.right_grid
    # Not far wider than it has to be either: a window of attention, or a max-pool, need not let every change through.
    assert left > reach.left_grid // 2 and right > reach.right_grid // 2


def test_the_best_candidates_of_the_whole_sequence_are_kept() -> None:
    detector = build(VARIANTS["windowed"])
    features = torch.randn(300, 10, dtype=torch.float64)
    config = replace(ALL, candidates_per_level=7)
    expected = whole(detector, features, config)
    found = windowed_candidates(detector, _slices(features), 300, config, core_grid=16)
    assert len(found.scores) == len(expected.scores) == 21
    torch.testing.assert_close(in_order(found), in_order(expected), atol=2e-4, rtol=1e-5)


def test_times_beyond_the_whole_numbers_of_float32_are_exact() -> None:
    detector = build(VARIANTS["conv"]).float()
    start, length = 2**25, 64
    features = torch.randn(length, 10)

    def read(first: int, last: int) -> torch.Tensor:
        rows = torch.zeros(last - first, 10)
        inside = range(max(first, start), min(last, start + length))
        if inside:
            rows[inside.start - first : inside.stop - first] = features[inside.start - start : inside.stop - start]
        return rows

    def only_the_end(all_windows: object) -> object:
        return [w for w in windows(start + length, Reach(32, 32), multiple=4, core_grid=64) if w.stop > start - 64]

    found = windowed_candidates(detector, read, start + length, ALL, core_grid=64, each=only_the_end)  # type: ignore[arg-type]
    middles = found.segments.mean(1)
    assert found.segments.dtype == torch.float64
    assert bool((found.segments[:, 1] > start).any())
    assert bool((middles % 1 != 0).any()), "float32 would have rounded these to even numbers"


@settings(deadline=None, max_examples=draws(60))
@given(st.integers(1, 4000), st.integers(0, 90), st.integers(0, 90), st.sampled_from([1, 4, 32]), st.integers(1, 999))
def test_cores_cover_every_step_once_within_their_windows(
    num_steps: int, left: int, right: int, multiple: int, core: int
) -> None:
    found = list(windows(num_steps, Reach(left, right), multiple=multiple, core_grid=core))
    assert [step for w in found for step in (w.core_start, w.core_stop)] == [
        0,
        *(edge for w in found[1:] for edge in (w.core_start, w.core_start)),
        num_steps,
    ]
    for window in found:
        assert window.start % multiple == 0 and window.core_start % multiple == 0
        assert window.start == 0 or window.core_start - window.start >= left
        assert window.stop == num_steps or (window.stop - window.core_stop >= right and window.stop % multiple == 0)


def test_full_attention_is_refused_and_short_sequences_are_no_matter_of_windows() -> None:
    detector = build(VARIANTS["full"])
    assert receptive_field(detector.config) is None and not is_long(detector, 10**9)
    with pytest.raises(UnboundedReachError, match="full attention"):
        windowed_candidates(detector, lambda a, b: torch.zeros(b - a, 10), 100, ALL)
    windowed = build(VARIANTS["windowed"])
    assert is_long(windowed, 9000) and not is_long(windowed, 8192)


def test_receptive_field_of_thumos_by_hand() -> None:
    """Two convolutions, two blocks at full rate, five that halve it, three convolutions at a 32nd of it."""
    config = DetectorConfig(feature_dim=8, num_classes=2)
    steps = 2 * 1 + 2 * (1 + 9) + sum(2 ** (level - 1) + 9 * 2**level for level in range(1, 6)) + 3 * 32
    assert receptive_field(config) == Reach(steps, steps)
