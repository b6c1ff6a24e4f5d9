# SPDX-License-Identifier: Apache-2.0
"""What the GPU implementations of ragged IoU are compared on: batches, and the float64 reference beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from hypothesis import strategies as st
from torch import Tensor

from asl_fast.reference import segment_iou_ragged as reference
from asl_fast.reference.segment_iou_ragged import BackwardOperands, Operands

Counts = Sequence[tuple[int, int]]  # segments of a and of b, per video

# Empty videos first, between and last; single rows and columns; more than a tile of either.
COUNTS: Counts = ((0, 5), (37, 3), (0, 0), (1, 140), (4, 0), (70, 33), (1, 1), (0, 2))

counts = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=7)


# Of a gradient and a batch: values, offsets, gradients of a and b, on the CPU.
Run = Callable[[Tensor, Operands], Sequence[Tensor]]


def backward(grad: Tensor, given: Operands, pair_offsets: Tensor) -> BackwardOperands:
    """Operands of the backward pass of ``given``."""
    return BackwardOperands(
        grad=grad,
        a=given.a,
        b=given.b,
        a_video_offsets=given.a_video_offsets,
        b_video_offsets=given.b_video_offsets,
        pair_offsets=pair_offsets,
        distance=given.distance,
    )


def segments(count: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Proper ones, one without length and one reversed; they lie among NaN, which a read out of place brings in."""
    generator = torch.Generator().manual_seed(seed)
    start, length = torch.rand(2, count, generator=generator).mul(10)
    length[3:5] = torch.tensor([0.0, -2.0])[: len(length[3:5])]
    buffer = torch.full((count + 64, 2), math.nan, dtype=dtype)
    buffer[32 : 32 + count] = torch.stack((start, start + length), -1)
    return buffer[32 : 32 + count]


def batch(
    counts: Counts = COUNTS, distance: bool = True, dtype: torch.dtype = torch.float32, spare: int = 7, seed: int = 0
) -> Operands:
    """Make videos with ``spare`` places more than there are pairs, or so many fewer."""
    a_video_offsets, b_video_offsets = (torch.tensor([0, *(n[side] for n in counts)]).cumsum(0) for side in (0, 1))
    a, b = segments(int(a_video_offsets[-1]), seed, dtype), segments(int(b_video_offsets[-1]), seed + 1, dtype)
    pairs = sum(n * m for n, m in counts)
    return Operands(
        a=a,
        b=b,
        a_video_offsets=a_video_offsets,
        b_video_offsets=b_video_offsets,
        max_pairs=max(pairs + spare, 0),
        distance=distance,
    )


def compare(run: Run, given: Operands) -> None:
    """Values, offsets and gradients are those of the reference in float64."""
    grad = torch.linspace(0.5, 1.5, given.max_pairs)
    values, offsets, *grads = run(grad, given)
    wide = given._replace(a=given.a.double(), b=given.b.double())
    expected, expected_offsets = reference.segment_iou_ragged(wide)
    assert torch.equal(offsets, expected_offsets) and values.shape == expected.shape
    narrow = values.dtype == torch.float32
    rtol, atol = (1e-5, 1e-6) if narrow else (1e-12, 1e-12)
    torch.testing.assert_close(values.double(), expected, rtol=rtol, atol=atol, equal_nan=True)
    others = reference.segment_iou_ragged_backward(backward(grad.double(), wide, expected_offsets))
    for one, other, of in zip(grads, others, given[:2], strict=True):
        assert one.shape == of.shape and one.dtype == of.dtype
        scale = float(other.abs().nan_to_num().max()) if other.numel() else 0.0
        eps = torch.finfo(of.dtype).eps  # a sum of slopes that may cancel, rounded once to the dtype of the input
        torch.testing.assert_close(one.double(), other, rtol=rtol + eps, atol=atol * (1 + scale), equal_nan=True)


def check_padding(run: Run) -> None:
    """Rows behind the last video are in no pair and get gradient 0; all else has the bits that it has without them."""
    given = batch()
    nan = torch.full((9, 2), math.nan)
    padded = given._replace(a=torch.cat((given.a, nan)), b=torch.cat((given.b, nan)))
    grad = torch.linspace(0.5, 1.5, given.max_pairs)
    values, offsets, *grads = run(grad, padded)
    expected, expected_offsets, *others = run(grad, given)
    assert torch.equal(values, expected) and torch.equal(offsets, expected_offsets)
    for one, other in zip(grads, others, strict=True):
        assert torch.equal(one[:-9], other) and not one[-9:].any()


NONSENSE = ([0, 40, -9, 3], [900, 1, 900, 2], [-5, -4, -3, -2], [7, 5, 3, 0], [2**62, -(2**62), 2**62, 12])


def check_nonsense(run: Run) -> None:
    """Offsets that nobody checks on a GPU let no kernel read or write out of place."""
    good = batch([(4, 3), (2, 6), (6, 3)])
    for bounds in NONSENSE:
        for given in (
            good._replace(a_video_offsets=torch.tensor(bounds)),
            good._replace(b_video_offsets=torch.tensor(bounds)),
            good._replace(a_video_offsets=torch.tensor(bounds), b_video_offsets=torch.tensor(bounds)),
            good._replace(a_video_offsets=good.a_video_offsets[:1], b_video_offsets=good.b_video_offsets[:1]),
        ):
            values, offsets, *grads = run(torch.ones(given.max_pairs), given)
            expected, expected_offsets = reference.segment_iou_ragged(given)
            torch.testing.assert_close(values, expected)
            assert torch.equal(offsets, expected_offsets)
            assert all(bool(grad.isfinite().all()) for grad in grads)
