# SPDX-License-Identifier: Apache-2.0
"""Temporal IoU and distance IoU of the segments of every video of a ragged batch."""

from __future__ import annotations

import operator
from typing import NamedTuple

import torch
from torch import Tensor

from asl_fast.ops import _checks, _dispatch, _library
from asl_fast.reference import segment_iou_ragged as reference
from asl_fast.reference.segment_iou_ragged import BackwardOperands, BackwardOutputs, Operands, Outputs


class RaggedPairs(NamedTuple):
    """A value for every pair of segments of the same video.

    Attributes:
        values: (max_pairs,), each video's (n_v, m_v) matrix row by row; 0 behind the last pair.
        pair_offsets: (B + 1,) int64; video v owns ``values[pair_offsets[v]:pair_offsets[v + 1]]``.
    """

    values: Tensor
    pair_offsets: Tensor


def _counts(name: str, segments: Tensor, offsets: Tensor) -> list[int]:
    bounds = offsets.tolist()
    counts = list(map(operator.sub, bounds[1:], bounds))
    if bounds[0] != 0 or bounds[-1] > segments.shape[0] or min(counts, default=0) < 0:
        raise ValueError(
            f"segment_iou_ragged: {name}_video_offsets must rise from 0 to at most the number of segments in {name}, "
            f"{segments.shape[0]}, got {bounds}"
        )
    return counts


def _number_of_pairs(a: Tensor, b: Tensor, a_video_offsets: Tensor, b_video_offsets: Tensor) -> int:
    return sum(map(operator.mul, _counts("a", a, a_video_offsets), _counts("b", b, b_video_offsets)))


def _check_values(given: Operands | BackwardOperands, max_pairs: int) -> None:
    pairs = _number_of_pairs(given.a, given.b, given.a_video_offsets, given.b_video_offsets)
    if pairs > max_pairs:
        raise ValueError(f"segment_iou_ragged: max_pairs is {max_pairs}, but the videos have {pairs} pairs; raise it")


_op = _library.define(Operands, "segment_iou_ragged", check_values=lambda given: _check_values(given, given.max_pairs))
_op_backward = _library.define(
    BackwardOperands,
    "segment_iou_ragged_backward",
    check_values=lambda given: _check_values(given, given.grad.shape[0]),
)


def _gradients(given: Operands, found: Outputs, grads: Outputs, needed: Operands) -> dict[str, Tensor]:
    operands = BackwardOperands(
        grad=grads.values,
        a=given.a,
        b=given.b,
        a_video_offsets=given.a_video_offsets,
        b_video_offsets=given.b_video_offsets,
        pair_offsets=found.pair_offsets,
        distance=given.distance,
    )
    results = BackwardOutputs(*_op_backward(*operands))
    return {"a": results.grad_a, "b": results.grad_b}


_library.differentiable(
    Operands,
    "segment_iou_ragged",
    _gradients,
    keep_operands=("a", "b", "a_video_offsets", "b_video_offsets"),
    keep_outputs=("pair_offsets",),
    constant=("pair_offsets",),
)

_dispatch.register("segment_iou_ragged", "reference", reference.segment_iou_ragged)
_dispatch.register("segment_iou_ragged", "cpu", "asl_fast.ops._segment_iou_ragged_native:cpu")
_dispatch.register("segment_iou_ragged", "cuda", "asl_fast.ops._segment_iou_ragged_native:cuda")
_dispatch.register("segment_iou_ragged", "triton", "asl_fast.kernels.segment_iou_ragged:segment_iou_ragged")
_BACKWARD = "segment_iou_ragged_backward"
_dispatch.register(_BACKWARD, "reference", reference.segment_iou_ragged_backward)
_dispatch.register(_BACKWARD, "cpu", "asl_fast.ops._segment_iou_ragged_native:cpu_backward")
_dispatch.register(_BACKWARD, "cuda", "asl_fast.ops._segment_iou_ragged_native:cuda_backward")
_dispatch.register(_BACKWARD, "triton", "asl_fast.kernels.segment_iou_ragged:segment_iou_ragged_backward")


def segment_iou_ragged(
    a: Tensor, b: Tensor, a_video_offsets: Tensor, b_video_offsets: Tensor, *, max_pairs: int | None = None
) -> RaggedPairs:
    """Compute the temporal IoU of all pairs of segments of the same video, for a batch of unequal videos.

    As :func:`segment_iou` of each video's rows of ``a`` and ``b``: the same values, edge cases and gradients. Videos
    are flat, one after the other, and may be empty: ``a_video_offsets`` [0, 3, 3] are two videos, the second empty.

    Args:
        a: (N, 2) floating point, start and end, any unit of time.
        b: (M, 2), same unit.
        a_video_offsets: (B + 1,) int64, rising from 0 to at most N; video v owns rows
            ``a_video_offsets[v]:a_video_offsets[v + 1]`` of ``a``. Rows from ``a_video_offsets[B]`` on are padding:
            they are in no pair and get gradient 0.
        b_video_offsets: (B + 1,) int64, likewise of ``b``.
        max_pairs: Length of the result, at least the number of pairs, the sum of n_v * m_v. None counts them, on a CPU
            only and not under ``torch.compile``: on a GPU it would wait for the device. Where the counts are on the
            host, when the batch is put together, sum them there; N times the most segments that a video has in ``b`` is
            an upper bound.

    Returns:
        A :class:`RaggedPairs`; values in [0, 1], float32, or float64 if an input is float64. On a GPU, pairs beyond
        ``max_pairs`` are dropped and get no gradient; ``pair_offsets`` still count them.

    Raises:
        TypeError: Segments not floating point, offsets not int64, ``max_pairs`` a tensor.
        ValueError: Wrong shape, two devices, no ``max_pairs`` on a GPU, a negative one; offsets that do not rise from 0
            to at most the number of segments, more pairs than ``max_pairs`` (CPU tensors only).
    """
    return _call("segment_iou_ragged", a, b, a_video_offsets, b_video_offsets, max_pairs, False)


def segment_diou_ragged(
    a: Tensor, b: Tensor, a_video_offsets: Tensor, b_video_offsets: Tensor, *, max_pairs: int | None = None
) -> RaggedPairs:
    """Compute the temporal distance IoU of all pairs of segments of the same video.

    As :func:`segment_diou` of each video's rows of ``a`` and ``b``; arguments, result and errors are those of
    :func:`segment_iou_ragged`, values in [-1, 1].
    """
    return _call("segment_diou_ragged", a, b, a_video_offsets, b_video_offsets, max_pairs, True)


def _call(
    op: str,
    a: Tensor,
    b: Tensor,
    a_video_offsets: Tensor,
    b_video_offsets: Tensor,
    max_pairs: int | None,
    distance: bool,
) -> RaggedPairs:
    _check(op, a, b, a_video_offsets, b_video_offsets)
    if isinstance(max_pairs, Tensor):
        raise TypeError(f"{op}: max_pairs must be a number on the host, got a tensor; any upper bound will do")
    if max_pairs is None:
        if a.device.type != "cpu":
            raise ValueError(
                f"{op}: max_pairs must be given on {a.device.type}, where counting the pairs would wait for the "
                "device; any upper bound will do: the sum of n * m over the videos, counted on the host when the "
                "batch is put together, or len(a) times the most segments that a video has in b"
            )
        max_pairs = _number_of_pairs(a, b, a_video_offsets, b_video_offsets)
    elif max_pairs < 0:
        raise ValueError(f"{op}: max_pairs must be at least 0, got {max_pairs}")
    given = Operands(
        a=a,
        b=b,
        a_video_offsets=a_video_offsets,
        b_video_offsets=b_video_offsets,
        max_pairs=max_pairs,
        distance=distance,
    )
    found = Outputs(*_op(*given))
    return RaggedPairs(values=found.values, pair_offsets=found.pair_offsets)


def _check(op: str, a: Tensor, b: Tensor, a_video_offsets: Tensor, b_video_offsets: Tensor) -> None:
    _checks.floating(op, a=a, b=b)
    for name, segments in (("a", a), ("b", b)):
        if segments.dim() != 2 or segments.shape[1] != 2:
            raise ValueError(
                f"{op}: {name} must be (N, 2), all videos one after the other; got {tuple(segments.shape)}"
            )
    for name, offsets in (("a_video_offsets", a_video_offsets), ("b_video_offsets", b_video_offsets)):
        if not isinstance(offsets, Tensor) or offsets.dtype != torch.int64:
            found = offsets.dtype if isinstance(offsets, Tensor) else type(offsets).__name__
            raise TypeError(f"{op}: {name} must be an int64 tensor, got {found}")
        if offsets.dim() != 1 or offsets.shape[0] < 1:
            raise ValueError(f"{op}: {name} must be (B + 1,), got {tuple(offsets.shape)}")
    if a_video_offsets.shape != b_video_offsets.shape:
        raise ValueError(
            f"{op}: a_video_offsets and b_video_offsets must be of as many videos, got "
            f"{a_video_offsets.shape[0] - 1} and {b_video_offsets.shape[0] - 1}"
        )
    _checks.same_device(op, a=a, b=b, a_video_offsets=a_video_offsets, b_video_offsets=b_video_offsets)
