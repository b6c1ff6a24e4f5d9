# SPDX-License-Identifier: Apache-2.0
"""Temporal IoU and distance IoU of the pairs of each video of a ragged batch in plain PyTorch, and derivatives."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from asl_fast.reference import _outputs, segment_iou
from asl_fast.reference._precision import compute_dtype


class Outputs(NamedTuple):
    """The values of all pairs, video after video, and where each video's begin.

    Attributes:
        values: (max_pairs,) the n_v x m_v pairs of each video row by row, 0 behind the last; float32, or float64 if an
            input is.
        pair_offsets: (B + 1,) int64; video v owns ``values[pair_offsets[v]:pair_offsets[v + 1]]``.
    """

    values: Tensor
    pair_offsets: Tensor


class Operands(NamedTuple):
    """What the op takes.

    Attributes:
        a: (N, 2) start and end, all videos.
        b: (M, 2) likewise.
        a_video_offsets: (B + 1,) int64; video v owns rows ``a_video_offsets[v]:a_video_offsets[v + 1]`` of ``a``.
        b_video_offsets: (B + 1,) int64 of ``b``.
        max_pairs: Length of the result; pairs beyond it are dropped.
        distance: DIoU instead of IoU.
    """

    a: Tensor
    b: Tensor
    a_video_offsets: Tensor
    b_video_offsets: Tensor
    max_pairs: int
    distance: bool

    @property
    def dtype(self) -> torch.dtype:
        """Of the computation and of the values."""
        return compute_dtype(self.a, self.b)

    @property
    def videos(self) -> int:
        """How many there are."""
        return self.a_video_offsets.shape[0] - 1

    def outputs(self) -> Outputs:
        """Return room for the results."""
        return Outputs(
            values=_outputs.empty((self.max_pairs,), self.dtype, self.a.device),
            pair_offsets=_outputs.empty(self.a_video_offsets.shape, torch.int64, self.a.device),
        )


class BackwardOutputs(NamedTuple):
    """Gradients of both sides.

    Attributes:
        grad_a: (N, 2) in the dtype of ``a``.
        grad_b: (M, 2) in that of ``b``.
    """

    grad_a: Tensor
    grad_b: Tensor


class BackwardOperands(NamedTuple):
    """What the backward pass takes.

    Attributes:
        grad: (max_pairs,) gradient of the values.
        a: As in :class:`Operands`, like the others.
        pair_offsets: (B + 1,) int64, from the forward pass.
    """

    grad: Tensor
    a: Tensor
    b: Tensor
    a_video_offsets: Tensor
    b_video_offsets: Tensor
    pair_offsets: Tensor
    distance: bool

    @property
    def forward(self) -> Operands:
        """What the forward pass took."""
        return Operands(
            a=self.a,
            b=self.b,
            a_video_offsets=self.a_video_offsets,
            b_video_offsets=self.b_video_offsets,
            max_pairs=self.grad.shape[0],
            distance=self.distance,
        )

    def outputs(self) -> BackwardOutputs:
        """Return room for the gradients."""
        grad_a, grad_b = (_outputs.empty(side.shape, side.dtype, side.device) for side in (self.a, self.b))
        return BackwardOutputs(grad_a=grad_a, grad_b=grad_b)


def segment_iou_ragged(given: Operands) -> Outputs:
    """Compute IoU or DIoU; every pair names its two rows, which are compared row by row."""
    pair_offsets = _pair_offsets(given)
    if given.a.shape[0] == 0 or given.b.shape[0] == 0 or given.videos == 0:
        return Outputs(values=given.a.new_zeros(given.max_pairs, dtype=given.dtype), pair_offsets=pair_offsets)
    pairs = _pairs(given, pair_offsets)
    values = segment_iou.segment_iou(
        segment_iou.Operands(a=given.a[pairs.a_row], b=given.b[pairs.b_row], aligned=True, distance=given.distance)
    ).iou
    return Outputs(values=torch.where(pairs.inside, values, 0), pair_offsets=pair_offsets)


def segment_iou_ragged_backward(given: BackwardOperands) -> BackwardOutputs:
    """Compute the gradients of ``sum(grad * values)``."""
    a, b, dtype = given.a, given.b, given.forward.dtype
    grad_a, grad_b = a.new_zeros(a.shape, dtype=dtype), b.new_zeros(b.shape, dtype=dtype)
    if a.shape[0] > 0 and b.shape[0] > 0 and given.forward.videos > 0:
        pairs = _pairs(given.forward, given.pair_offsets)
        of_pairs = segment_iou.segment_iou_backward(
            segment_iou.BackwardOperands(
                grad=given.grad,
                a=a.to(dtype)[pairs.a_row],
                b=b.to(dtype)[pairs.b_row],
                aligned=True,
                distance=given.distance,
            )
        )
        inside = pairs.inside.unsqueeze(-1)
        grad_a.index_add_(0, pairs.a_row, torch.where(inside, of_pairs.grad_a, 0))
        grad_b.index_add_(0, pairs.b_row, torch.where(inside, of_pairs.grad_b, 0))
    return BackwardOutputs(grad_a=grad_a.to(a.dtype), grad_b=grad_b.to(b.dtype))


class _Pairs(NamedTuple):
    """The rows of ``a`` and ``b`` that meet in each place of the result, and whether there is a pair."""

    a_row: Tensor
    b_row: Tensor
    inside: Tensor


def _rows(video_offsets: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return first row and number of rows of every video, within ``count`` whatever the offsets are."""
    first = video_offsets[:-1].clamp(0, count)
    return first, torch.maximum(video_offsets[1:].clamp(0, count), first) - first


def _pair_offsets(given: Operands) -> Tensor:
    _, n = _rows(given.a_video_offsets, given.a.shape[0])
    _, m = _rows(given.b_video_offsets, given.b.shape[0])
    return torch.cat((n.new_zeros(1), (n * m).cumsum(0)))


def _pairs(given: Operands, pair_offsets: Tensor) -> _Pairs:
    pair = torch.arange(given.max_pairs, device=given.a.device)
    ends = pair_offsets[1:].contiguous()
    video = torch.searchsorted(ends, pair, right=True).clamp(max=ends.shape[0] - 1)
    a_first, _ = _rows(given.a_video_offsets, given.a.shape[0])
    b_first, m = _rows(given.b_video_offsets, given.b.shape[0])
    inside = pair < ends[-1]
    local, columns = pair - pair_offsets[video], m[video].clamp(min=1)
    a_row = a_first[video] + local // columns
    b_row = b_first[video] + local % columns
    return _Pairs(torch.where(inside, a_row, 0), torch.where(inside, b_row, 0), inside)
