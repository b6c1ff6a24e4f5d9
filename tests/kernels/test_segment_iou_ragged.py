# SPDX-License-Identifier: Apache-2.0
"""Triton IoU and DIoU of ragged batches equal the float64 reference and stay within their buffers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

pytest.importorskip("triton", minversion="3.5")

import triton.language as tl
from asl_fast.kernels import segment_iou_ragged as kernels

from asl_fast.reference.segment_iou_ragged import Operands
from tests.kernels import segment_iou_ragged_cases
from tests.kernels.fences import fenced
from tests.kernels.segment_iou_ragged_cases import backward, batch, compare


def run(grad: Tensor, given: Operands) -> tuple[Tensor, ...]:
    """Values, offsets and both gradients, all in fences."""
    with fenced():
        found = kernels.segment_iou_ragged(given)
    with fenced():
        grads = kernels.segment_iou_ragged_backward(backward(grad, given, found.pair_offsets))
    return *found, *grads


@pytest.mark.parametrize("distance", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_equals_the_reference(distance: bool, dtype: torch.dtype) -> None:
    compare(run, batch(distance=distance, dtype=dtype))


@pytest.mark.parametrize("spare", [-2600, -100, -1, 0])
def test_pairs_beyond_the_bound_are_dropped_and_get_no_gradient(spare: int) -> None:
    compare(run, batch(spare=spare))


@pytest.mark.parametrize("most_columns", [1 << 14, 8])
def test_programs_whose_pairs_are_all_of_one_video(most_columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "BLOCK_PAIRS", 64)
    monkeypatch.setattr(kernels, "PART", 16)
    monkeypatch.setattr(kernels, "PROGRAMS", 4)
    monkeypatch.setattr(kernels, "MOST_COLUMNS", tl.constexpr(most_columns))
    compare(run, batch([(3, 2), (0, 4), (40, 7), (9, 33), (1, 300), (300, 1)]))


def test_more_videos_than_one_step_of_their_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "BLOCK_VIDEOS", 4)
    compare(run, batch([(n % 3, (n + 1) % 4) for n in range(45)]))


@pytest.mark.parametrize("counts", [[], [(0, 0)], [(0, 3)], [(3, 0), (0, 0)]])
@pytest.mark.parametrize("spare", [0, 5])
def test_no_pairs_at_all(counts: segment_iou_ragged_cases.Counts, spare: int) -> None:
    compare(run, batch(counts, spare=spare))


def test_nan_stays_in_its_own_pairs_and_video() -> None:
    drawn = batch([(2, 3), (2, 2)], distance=False)
    drawn.a[0, 1], drawn.b[3, 0] = math.nan, math.inf
    compare(run, drawn)
    values = kernels.segment_iou_ragged(drawn).values
    assert values[:3].isnan().all() and values[3:6].isfinite().all()


def test_offsets_that_make_no_sense_read_nothing_out_of_place() -> None:
    segment_iou_ragged_cases.check_nonsense(run)


def test_rows_behind_the_last_video_are_padding() -> None:
    segment_iou_ragged_cases.check_padding(run)


def test_any_layout_and_mixed_types() -> None:
    drawn = batch([(5, 3), (0, 2), (17, 35)])
    a = drawn.a.t().contiguous().t()
    spaced = torch.stack((drawn.a_video_offsets, drawn.a_video_offsets), 1)[:, 0]
    compare(run, drawn._replace(a=a, a_video_offsets=spaced))
    compare(run, drawn._replace(b=drawn.b.half()))
    compare(run, drawn._replace(a=drawn.a.double()))


@given(counts=segment_iou_ragged_cases.counts, distance=st.booleans(), spare=st.integers(-3, 3))
@settings(max_examples=10, deadline=None)
def test_drawn_batches(counts: list[tuple[int, int]], distance: bool, spare: int) -> None:
    compare(run, batch(counts, distance, spare=spare))
