# SPDX-License-Identifier: Apache-2.0
"""IoU and DIoU of ragged batches: equal to the op of each video alone, in values, gradients and edge cases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asl_fast import backend, segment_diou, segment_diou_ragged, segment_iou, segment_iou_ragged
from asl_fast.ops.segment_iou_ragged import RaggedPairs
from asl_fast.reference.segment_iou_ragged import BackwardOperands, Operands
from tests.drawing import draws
from tests.ops import checks
from tests.ops.test_segment_iou import random_segments

OPS = pytest.mark.parametrize("op", [segment_iou_ragged, segment_diou_ragged])
OF_A_VIDEO = {segment_iou_ragged: segment_iou, segment_diou_ragged: segment_diou}
COUNTS = ((3, 2), (0, 4), (5, 0), (0, 0), (1, 6), (4, 4))  # segments of a and b, per video

sizes = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=6)


def offsets_of(counts: Sequence[int]) -> Tensor:
    return torch.tensor([0, *counts]).cumsum(0)


def batch(
    counts: Sequence[tuple[int, int]] = COUNTS, dtype: torch.dtype = torch.float64, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw a, b, a_video_offsets, b_video_offsets of videos with so many segments."""
    a_video_offsets, b_video_offsets = (offsets_of([count[side] for count in counts]) for side in (0, 1))
    a = random_segments(int(a_video_offsets[-1]), seed=seed, dtype=dtype)
    return a, random_segments(int(b_video_offsets[-1]), seed=seed + 1, dtype=dtype), a_video_offsets, b_video_offsets


def video_by_video(op, a: Tensor, b: Tensor, a_video_offsets: Tensor, b_video_offsets: Tensor) -> list[Tensor]:
    bounds = zip(pairwise(a_video_offsets.tolist()), pairwise(b_video_offsets.tolist()), strict=True)
    return [OF_A_VIDEO[op](a[of_a[0] : of_a[1]], b[of_b[0] : of_b[1]]) for of_a, of_b in bounds]


def weighted(values: Tensor) -> Tensor:
    return (values * torch.linspace(0.5, 1.5, values.numel(), dtype=values.dtype)).sum()


@OPS
@given(counts=sizes, spare=st.integers(0, 5), seed=st.integers(0, 9))
@settings(max_examples=draws(40), deadline=None)
def test_equals_each_video_alone(op, counts: list[tuple[int, int]], spare: int, seed: int) -> None:
    a, b, a_video_offsets, b_video_offsets = batch(counts, seed=seed)
    a.requires_grad_(), b.requires_grad_()
    matrices = video_by_video(op, a, b, a_video_offsets, b_video_offsets)
    expected = torch.cat([matrix.flatten() for matrix in matrices])
    found = op(a, b, a_video_offsets, b_video_offsets, max_pairs=len(expected) + spare)
    assert found.pair_offsets.tolist() == offsets_of([matrix.numel() for matrix in matrices]).tolist()
    assert found.values.shape == (len(expected) + spare,) and not found.values[len(expected) :].any()
    torch.testing.assert_close(found.values[: len(expected)], expected, **checks.FLOAT64)
    grads = torch.autograd.grad(weighted(found.values[: len(expected)]), (a, b))
    for grad, other in zip(grads, torch.autograd.grad(weighted(expected), (a, b)), strict=True):
        torch.testing.assert_close(grad, other, **checks.FLOAT64)


@OPS
def test_one_video_is_the_dense_op_and_pairs_are_counted(op) -> None:
    a, b, a_video_offsets, b_video_offsets = batch([(7, 5)])
    found = op(a, b, a_video_offsets, b_video_offsets)
    assert isinstance(found, RaggedPairs) and found.pair_offsets.dtype == torch.int64
    torch.testing.assert_close(found.values.view(7, 5), OF_A_VIDEO[op](a, b), **checks.FLOAT64)
    assert len(op(*batch()).values) == sum(n * m for n, m in COUNTS)


@OPS
@pytest.mark.parametrize("counts", [[], [(0, 0)], [(0, 3)], [(3, 0), (0, 0)]])
@pytest.mark.parametrize("max_pairs", [None, 0, 4])
@pytest.mark.parametrize("name", checks.implementations("segment_iou_ragged"))
def test_no_pairs_at_all(op, counts: list[tuple[int, int]], max_pairs: int | None, name: str) -> None:
    a, b, a_video_offsets, b_video_offsets = batch(counts)
    a.requires_grad_(), b.requires_grad_()
    with checks.every_call_on(name):
        values, offsets = op(a, b, a_video_offsets, b_video_offsets, max_pairs=max_pairs)
        values.sum().backward()
    assert values.tolist() == [0.0] * (max_pairs or 0) and offsets.tolist() == [0] * (len(counts) + 1)
    assert not a.grad.any() and not b.grad.any() and a.grad.shape == a.shape and b.grad.shape == b.shape


@OPS
@pytest.mark.parametrize("name", checks.implementations("segment_iou_ragged"))
def test_unusual_segments_are_those_of_the_dense_op(op, name: str) -> None:
    nan, inf = math.nan, math.inf
    rows = [(0.0, nan), (nan, 1.0), (-inf, 2.0), (0.0, inf), (inf, inf), (5.0, 5.0), (7.0, 3.0), (3.0, 7.0), (0.0, 9.0)]
    a = torch.tensor(rows * 2).requires_grad_()
    b = torch.tensor(rows[::-1] + rows[5:]).requires_grad_()
    a_video_offsets, b_video_offsets = torch.tensor([0, 9, 18]), torch.tensor([0, 9, 13])
    with checks.every_call_on(name):
        values = op(a, b, a_video_offsets, b_video_offsets).values
        expected = torch.cat([x.flatten() for x in video_by_video(op, a, b, a_video_offsets, b_video_offsets)])
        torch.testing.assert_close(values, expected, **checks.FLOAT32, equal_nan=True)
        grads = torch.autograd.grad(weighted(values), (a, b))
        others = torch.autograd.grad(weighted(expected), (a, b))
    assert bool(values[:18].isnan().all()) and bool(values[-16:].isfinite().all())
    for grad, other in zip(grads, others, strict=True):
        torch.testing.assert_close(grad, other, rtol=1e-5, atol=1e-5, equal_nan=True)


@OPS
def test_gradients_equal_numerical_ones(op) -> None:
    a, b, a_video_offsets, b_video_offsets = batch(seed=3)
    checks.gradcheck(
        lambda x, y: op(x, y, a_video_offsets, b_video_offsets, max_pairs=40).values,
        a.requires_grad_(),
        b.requires_grad_(),
    )


@OPS
def test_half_precision_layouts_and_mixed_dtypes(op) -> None:
    a, b, a_video_offsets, b_video_offsets = batch(seed=7, dtype=torch.float32)
    checks.half_precision(
        lambda *x: op(*x).values, a.requires_grad_(), b.requires_grad_(), a_video_offsets, b_video_offsets
    )
    checks.any_layout(lambda *x: op(*x).values, a, b, a_video_offsets, b_video_offsets)
    assert op(a, b.double(), a_video_offsets, b_video_offsets).values.dtype == torch.float64
    assert op(a, b.half(), a_video_offsets, b_video_offsets).values.dtype == torch.float32


@OPS
@pytest.mark.parametrize("name", ["cpu", "reference"])
def test_rows_behind_the_last_video_are_padding(op, name: str) -> None:
    a, b, a_video_offsets, b_video_offsets = batch()
    padded_a, padded_b = (torch.cat((side, torch.full((3, 2), math.nan, dtype=side.dtype))) for side in (a, b))

    def run(*sides: Tensor) -> tuple[Tensor, ...]:
        leaves = [side.clone().requires_grad_() for side in sides]
        with backend(name):
            values = op(*leaves, a_video_offsets, b_video_offsets, max_pairs=50).values
            return values, *torch.autograd.grad(values.sum(), leaves)

    values, *grads = run(padded_a, padded_b)
    expected, *others = run(a, b)
    assert torch.equal(values, expected)
    for grad, other in zip(grads, others, strict=True):
        assert torch.equal(grad[:-3], other) and not grad[-3:].any()


@OPS
def test_too_few_pairs_and_wrong_offsets_are_named(op) -> None:
    a, b, a_video_offsets, b_video_offsets = batch([(3, 2), (2, 2)])
    assert len(op(a, b, a_video_offsets, b_video_offsets, max_pairs=10).values) == 10
    with pytest.raises(ValueError, match="max_pairs is 9, but the videos have 10 pairs"):
        op(a, b, a_video_offsets, b_video_offsets, max_pairs=9)
    with pytest.raises(ValueError, match="max_pairs must be at least 0, got -1"):
        op(a, b, a_video_offsets, b_video_offsets, max_pairs=-1)
    for wrong in ([1, 3, 5], [0, 3, 6], [0, 6, 5], [0, -1, 5]):
        for max_pairs in (None, 10):
            with pytest.raises(
                ValueError, match=r"a_video_offsets must rise from 0 to at most the number of .* in a, 5, got \["
            ):
                op(a, b, torch.tensor(wrong), b_video_offsets, max_pairs=max_pairs)
    with pytest.raises(ValueError, match=r"b_video_offsets must rise from 0 to .* in b, 4, got \[0, 2, 5\]"):
        op(a, b, a_video_offsets, torch.tensor([0, 2, 5]))


@OPS
def test_bad_arguments_are_named(op) -> None:
    a, b, a_video_offsets, b_video_offsets = batch()
    for arguments, kind, message in (
        ((a.long(), b, a_video_offsets, b_video_offsets), TypeError, "a must be floating point, got torch.int64"),
        ((a, [[0.0, 1.0]], a_video_offsets, b_video_offsets), TypeError, "b must be a tensor, got list"),
        ((a[None], b, a_video_offsets, b_video_offsets), ValueError, r"a must be \(N, 2\), .*got \(1, 13, 2\)"),
        ((a, b.flatten(), a_video_offsets, b_video_offsets), ValueError, r"b must be \(N, 2\), .*got \(32,\)"),
        (
            (a, b, a_video_offsets.int(), b_video_offsets),
            TypeError,
            "a_video_offsets must be an int64 tensor, got torch.int32",
        ),
        ((a, b, a_video_offsets, [0, 1]), TypeError, "b_video_offsets must be an int64 tensor, got list"),
        ((a, b, a_video_offsets[:0], b_video_offsets), ValueError, r"a_video_offsets must be \(B \+ 1,\), got \(0,\)"),
        ((a, b, a_video_offsets, b_video_offsets[1:]), ValueError, "must be of as many videos, got 6 and 5"),
        ((a, b.to("meta"), a_video_offsets, b_video_offsets), ValueError, "a is on cpu but b on meta"),
    ):
        with pytest.raises(kind, match=f"{op.__name__}: .*{message}|{message}"):
            op(*arguments, max_pairs=40)
    with pytest.raises(TypeError, match="max_pairs must be a number on the host, got a tensor"):
        op(a, b, a_video_offsets, b_video_offsets, max_pairs=torch.tensor(40))
    elsewhere = [x.to("meta") for x in (a, b, a_video_offsets, b_video_offsets)]
    with pytest.raises(ValueError, match=r"max_pairs must be given on meta, .* the sum of n \* m over the videos"):
        op(*elsewhere)
    assert op(*elsewhere, max_pairs=40).values.shape == (40,)


def test_second_derivatives_are_refused() -> None:
    a, b, a_video_offsets, b_video_offsets = batch()
    value = segment_iou_ragged(a.requires_grad_(), b, a_video_offsets, b_video_offsets).values.sum()
    with pytest.raises(NotImplementedError, match=r"asl_fast.reference.segment_iou_ragged"):
        torch.autograd.grad(value, a, create_graph=True)


def test_the_backward_op_checks_what_it_reads() -> None:
    a, b, a_video_offsets, b_video_offsets = batch([(3, 2), (2, 2)])
    backward = torch.ops.asl_fast.segment_iou_ragged_backward.default
    given = BackwardOperands(
        grad=torch.ones(9),
        a=a,
        b=b,
        a_video_offsets=a_video_offsets,
        b_video_offsets=b_video_offsets,
        pair_offsets=torch.tensor([0, 6, 10]),
        distance=False,
    )
    with pytest.raises(ValueError, match="max_pairs is 9, but the videos have 10 pairs"):
        backward(*given)
    with pytest.raises(ValueError, match="b_video_offsets must rise"):
        backward(*given._replace(grad=torch.ones(10), b_video_offsets=a_video_offsets))


@pytest.mark.parametrize("distance", [False, True])
def test_registration(distance: bool) -> None:
    a, b, a_video_offsets, b_video_offsets = batch(seed=9)
    given = Operands(
        a=a.requires_grad_(),
        b=b.requires_grad_(),
        a_video_offsets=a_video_offsets,
        b_video_offsets=b_video_offsets,
        max_pairs=40,
        distance=distance,
    )
    checks.opcheck(torch.ops.asl_fast.segment_iou_ragged.default, *given)
    back = BackwardOperands(
        grad=torch.ones(40).double(),
        a=a.detach(),
        b=b.detach(),
        a_video_offsets=a_video_offsets,
        b_video_offsets=b_video_offsets,
        pair_offsets=segment_iou_ragged(a, b, a_video_offsets, b_video_offsets).pair_offsets,
        distance=distance,
    )
    checks.opcheck(torch.ops.asl_fast.segment_iou_ragged_backward.default, *back)


@OPS
def test_compiles_without_a_graph_break_with_a_bound_from_the_shapes(op) -> None:
    a, b, a_video_offsets, b_video_offsets = batch(seed=11)
    a.requires_grad_(), b.requires_grad_()
    checks.compiles(lambda *x: op(*x, max_pairs=40).values, a, b, a_video_offsets, b_video_offsets)
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda *x: op(*x, max_pairs=len(x[0]) * 6), fullgraph=True, backend="aot_eager", dynamic=True
    )
    for counts in (COUNTS, COUNTS[::-1][:4]):
        for found, expected in zip(compiled(*batch(counts)), op(*batch(counts)), strict=True):
            assert torch.equal(found[: len(expected)], expected)


@OPS
@pytest.mark.parametrize("name", checks.implementations("segment_iou_ragged"))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_implementation_equals_the_reference(op, name: str, dtype: torch.dtype) -> None:
    counts = ((70, 33), (0, 3), (2, 90), (1, 1), (40, 0), (17, 16))
    a, b, a_video_offsets, b_video_offsets = batch(counts, dtype, seed=13)
    a[:4] = torch.tensor([[3.0, 3.0], [5.0, 2.0], [1.0, 4.0], [0.0, 9.0]])
    b[:4] = torch.tensor([[3.0, 3.0], [2.0, 5.0], [1.0, 4.0], [1.0, 9.0]])
    pairs = sum(n * m for n, m in counts)

    def results(a: Tensor, b: Tensor) -> list[Tensor]:
        value, grads = checks.value_and_grads(
            lambda *x: op(*x, max_pairs=pairs + 9).values,
            a.requires_grad_(),
            b.requires_grad_(),
            a_video_offsets,
            b_video_offsets,
        )
        return [value, *grads]

    with checks.every_call_on(name):
        found = results(a, b)
    with backend("reference"):
        expected = results(a.detach().double(), b.detach().double())
    tolerance = checks.FLOAT64 if dtype == torch.float64 else {"rtol": 2e-5, "atol": 4e-5}
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, **tolerance)
