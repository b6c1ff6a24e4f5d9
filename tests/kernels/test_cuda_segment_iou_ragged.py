# SPDX-License-Identifier: Apache-2.0
"""CUDA IoU and DIoU of ragged batches equal the float64 reference and stay within their buffers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from asl_fast.ops import _segment_iou_ragged_native as native
from asl_fast.reference.segment_iou_ragged import Operands
from tests.kernels import cuda_on_host, segment_iou_ragged_cases
from tests.kernels.segment_iou_ragged_cases import Run, backward, batch, compare


@pytest.fixture
def run(cuda_device: torch.device) -> Run:
    """Values, offsets and both gradients."""

    def of(grad: Tensor, given: Operands) -> list[Tensor]:
        given = Operands(*(x.to(cuda_device) if isinstance(x, Tensor) else x for x in given))
        found = native.cuda(given)
        grads = native.cuda_backward(backward(grad.to(cuda_device), given, found.pair_offsets))
        return [x.cpu() for x in (*found, *grads)]

    return of


@pytest.mark.parametrize("distance", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_equals_the_reference(run: Run, distance: bool, dtype: torch.dtype) -> None:
    compare(run, batch(distance=distance, dtype=dtype))


@pytest.mark.parametrize("n", [1, 31, 33, 65])
@pytest.mark.parametrize("m", [1, 7, 8, 33])
def test_tails(run: Run, n: int, m: int) -> None:
    compare(run, batch([(n, m), (2, 1), (m, n)], spare=0))


@pytest.mark.parametrize("spare", [-2600, -100, -1, 0])
def test_pairs_beyond_the_bound_are_dropped_and_get_no_gradient(run: Run, spare: int) -> None:
    compare(run, batch(spare=spare))


def test_more_videos_than_one_step_of_their_sum(run: Run) -> None:
    compare(run, batch([(n % 3, (n + 1) % 4) for n in range(600)]))


@pytest.mark.parametrize("counts", [[], [(0, 0)], [(0, 3)], [(3, 0), (0, 0)]])
@pytest.mark.parametrize("spare", [0, 5])
def test_no_pairs_at_all(run: Run, counts: segment_iou_ragged_cases.Counts, spare: int) -> None:
    compare(run, batch(counts, spare=spare))


def test_nan_stays_in_its_own_pairs_and_video(run: Run) -> None:
    drawn = batch([(2, 3), (2, 2)], distance=False)
    drawn.a[0, 1], drawn.b[3, 0] = math.nan, math.inf
    compare(run, drawn)
    values = run(torch.ones(drawn.max_pairs), drawn)[0]
    assert values[:3].isnan().all() and values[3:6].isfinite().all()


def test_offsets_that_make_no_sense_read_nothing_out_of_place(run: Run) -> None:
    segment_iou_ragged_cases.check_nonsense(run)


def test_rows_behind_the_last_video_are_padding(run: Run) -> None:
    segment_iou_ragged_cases.check_padding(run)


def test_any_layout_and_mixed_types(run: Run) -> None:
    drawn = batch()
    a = drawn.a.t().contiguous().t()
    spaced = torch.stack((drawn.a_video_offsets, drawn.a_video_offsets), 1)[:, 0]
    compare(run, drawn._replace(a=a, a_video_offsets=spaced))
    compare(run, drawn._replace(b=drawn.b.half()))
    compare(run, drawn._replace(a=drawn.a.double()))
    odd = torch.cat((torch.zeros(1), drawn.a.flatten()))[1:].view(-1, 2)  # not aligned for pairs
    compare(run, drawn._replace(a=odd))


def test_the_same_bits_in_any_order_of_threads_and_two_launches_forward(cuda_device: torch.device, run: Run) -> None:
    if cuda_device.type == "cuda":
        pytest.skip("the order of threads is the device's")
    library, runs = cuda_on_host.library(), []
    for seed in (1, 2):
        library.cuda_on_host_set_order(seed)
        before = library.cuda_on_host_launches()
        drawn = batch()
        native.cuda(drawn)
        assert library.cuda_on_host_launches() == before + 2
        runs.append(run(torch.linspace(-1, 1, drawn.max_pairs), drawn))
    library.cuda_on_host_set_order(1)
    assert all(map(torch.equal, *runs))


@given(counts=segment_iou_ragged_cases.counts, distance=st.booleans(), spare=st.integers(-3, 3))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_drawn_batches(run: Run, counts: list[tuple[int, int]], distance: bool, spare: int) -> None:
    compare(run, batch(counts, distance, spare=spare))
