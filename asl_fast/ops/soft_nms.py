# SPDX-License-Identifier: Apache-2.0
"""Temporal soft-NMS with segment voting, over many videos and classes in one call."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from asl_fast.ops import _checks, _dispatch, _library
from asl_fast.reference import soft_nms as reference
from asl_fast.reference.soft_nms import METHODS, Operands, Outputs

_FAR = 16.0  # times the range of a video's times


class SoftNMSResult(NamedTuple):
    """M detections that remain, by video and then by falling score; at equal scores the lower index comes first.

    Attributes:
        segments: (M, 2) start and end in the unit of the input, moved if there is voting.
        scores: (M,) decayed.
        labels: (M,) or None where none were given.
        indices: (M,) int64 rows of the input.
        video_index: (M,) or None where none was given.
    """

    segments: Tensor
    scores: Tensor
    labels: Tensor | None
    indices: Tensor
    video_index: Tensor | None


def _check_values(given: Operands) -> None:
    for name, tensor in (("scores", given.scores), ("segments", given.segments)):
        # The smallest and the largest are NaN if anything is, and they are found in one pass without a copy.
        if tensor.numel() and not all(math.isfinite(bound) for bound in map(float, torch.aminmax(tensor))):
            row = int(torch.nonzero(~torch.isfinite(tensor))[0, 0])
            raise ValueError(f"soft_nms: {name}[{row}] is {tensor[row].tolist()}; remove what is not finite")
    videos, count = given.video_index, given.num_videos
    if videos is not None and count > 0 and len(videos):
        low, high = map(int, torch.aminmax(videos))
        if low < 0 or high >= count:
            row = int(torch.nonzero((videos < 0) | (videos >= count))[0, 0])
            raise ValueError(
                f"soft_nms: video_index[{row}] is {int(videos[row])}, but num_videos={count} allows 0 to {count - 1}"
            )


def _triton_obstacle(device: str) -> str | None:
    hip = device == "cuda" and torch.version.hip is not None
    return "Triton's barrier does not order global memory on AMD, which soft-NMS relies on" if hip else None


_op = _library.define(Operands, "soft_nms", check_values=_check_values)

_dispatch.register("soft_nms", "reference", reference.soft_nms)
_dispatch.register("soft_nms", "cpu", "asl_fast.ops._soft_nms_native:cpu")
_dispatch.register("soft_nms", "cuda", "asl_fast.ops._soft_nms_native:cuda")
_dispatch.register("soft_nms", "triton", "asl_fast.kernels.soft_nms:soft_nms", obstacle=_triton_obstacle)


def soft_nms(
    segments: Tensor,
    scores: Tensor,
    labels: Tensor | None = None,
    *,
    method: reference.Method = "gaussian",
    sigma: float = 0.5,
    iou_threshold: float = 0.1,
    min_score: float = 0.001,
    max_segments: int | None = 200,
    voting_threshold: float | None = None,
    video_index: Tensor | None = None,
    num_videos: int | None = None,
    keep_best: bool = True,
) -> SoftNMSResult:
    """Keep the best segment, lower the scores of those that overlap it, and so on: temporal soft-NMS.

    Same segments, order and scores as the sequential algorithm (Bodla et al., ICCV 2017, as in ActionFormer, Zhang et
    al., ECCV 2022, whose IoU adds 1e-6 to both lengths). With ``labels`` each class of a video is treated on its own,
    without them a video's segments all compete. Segments without length, or reversed, overlap nothing.

    Computes in float32 whatever the input, and carries no gradient. Times in float64 of a video that begins far from
    zero for its length, such as Unix seconds, are shifted to zero before: they give what the shifted times give.

    Args:
        segments: (N, 2) start and end, any unit, floating point.
        scores: (N,) floating point.
        labels: (N,) integer class ids, any values; None: class-agnostic.
        method: What an overlap does to a score s. "gaussian": s * exp(-IoU^2 / sigma). From ``iou_threshold`` on,
            "linear": s * (1 - IoU); "hard": suppressed, which is plain NMS.
        sigma: Of "gaussian", > 0; larger suppresses less.
        iou_threshold: Of "linear" and "hard", in (0, 1].
        min_score: At least 0; candidates whose score is or falls below it are dropped.
        max_segments: Kept per video; None or <= 0: no limit. (A limit per class of the same size, as ActionFormer has
            before its limit per video, changes nothing.)
        voting_threshold: In (0, 1], None or 0: off. Moves each kept segment to the mean of all input segments of its
            video (with ``labels``: and of its class) with at least this IoU, suppressed ones included, weighted by
            original score * IoU. ActionFormer votes only class-agnostically and ignores its setting otherwise; for
            that, leave ``labels`` out here and take ``labels[result.indices]``. A segment without length stays.
        video_index: (N,) integer, which video each candidate is of, in any order; None: one video.
        num_videos: How many videos there are, if known: ``video_index`` then lies in [0, num_videos), and some may have
            no candidate. The result is the same; a GPU sorts and pads less for it.
        keep_best: Return the best of each group even below ``min_score``, as ActionFormer's soft-NMS does (its hard
            NMS, like False, does not).

    Returns:
        A :class:`SoftNMSResult` in the dtypes of the input. On a GPU its size costs one wait for the device; the op
        ``torch.ops.asl_fast.soft_nms`` behind it returns the padded result and a count without.

    Raises:
        TypeError: Segments or scores not floating point, labels or video_index not integer.
        ValueError: Wrong shape, two devices, an option out of range; NaN or infinity, or a video beyond ``num_videos``
            (CPU tensors only: on a GPU a NaN score is never kept, a NaN segment overlaps nothing, and a candidate of no
            video takes no part).
    """
    _check(segments, scores, labels, video_index)
    _check_options(method, sigma, iou_threshold, min_score, voting_threshold)
    _check_num_videos(num_videos, video_index)
    shift = _shift(segments.detach(), video_index, num_videos)
    near = segments.detach() if shift is None else segments.detach() - shift
    given = Operands(
        segments=near.float(),
        scores=scores.detach().float(),
        labels=labels.long() if labels is not None else None,
        video_index=video_index.long() if video_index is not None else None,
        method=method,
        sigma=sigma,
        iou_threshold=iou_threshold,
        min_score=min_score,
        max_segments=max_segments or 0,
        voting_threshold=voting_threshold or 0.0,
        keep_best=keep_best,
        num_videos=num_videos or 0,
    )
    padded = Outputs(*_op(*given))
    kept = int(padded.num_kept)
    indices = padded.indices[:kept].clone()  # not a view that holds the padding in memory
    moved = padded.segments[:kept].to(segments.dtype, copy=True)
    return SoftNMSResult(
        segments=segments.detach()[indices]
        if not voting_threshold
        else moved
        if shift is None
        else moved + shift[indices],
        scores=padded.scores[:kept].to(scores.dtype, copy=True),
        labels=labels[indices] if labels is not None else None,
        indices=indices,
        video_index=video_index[indices] if video_index is not None else None,
    )


def _shift(segments: Tensor, video_index: Tensor | None, num_videos: int | None) -> Tensor | None:
    """(N, 1) whole number to subtract from float64 times of each candidate, so that float32 can hold them; or None.

    A video is shifted where its times lie further from zero than `_FAR` times their range: nearer ones lose no more
    than the last few bits, and keep the bits that they have always had.
    """
    if segments.dtype != torch.float64 or not len(segments):
        return None
    if video_index is None:
        video, count = torch.zeros(len(segments), dtype=torch.int64, device=segments.device), 1
    elif num_videos is not None:
        video, count = video_index.long().clamp(0, num_videos - 1), num_videos
    else:
        names, video = torch.unique(video_index, return_inverse=True)
        count = len(names)
    low, high = segments.amin(1), segments.amax(1)
    start = torch.full((count,), math.inf, dtype=torch.float64, device=segments.device)
    end = -start
    start = start.scatter_reduce(0, video, low, "amin")
    end = end.scatter_reduce(0, video, high, "amax")
    far = torch.minimum(start.abs(), end.abs()) > _FAR * (end - start)
    shift = torch.where(far, start.floor(), torch.zeros_like(start))
    return shift[video][:, None] if bool(far.any()) else None


def _check(segments: Tensor, scores: Tensor, labels: Tensor | None, video_index: Tensor | None) -> None:
    _checks.floating("soft_nms", segments=segments, scores=scores)
    if segments.dim() != 2 or segments.shape[1] != 2:
        raise ValueError(f"soft_nms: segments must be (N, 2) start and end, got {tuple(segments.shape)}")
    for name, tensor in (("scores", scores), ("labels", labels), ("video_index", video_index)):
        if tensor is not None and tensor.shape != segments.shape[:1]:
            raise ValueError(f"soft_nms: {name} must be ({segments.shape[0]},), got {tuple(tensor.shape)}")
    for name, tensor in (("labels", labels), ("video_index", video_index)):
        if tensor is not None and (tensor.is_floating_point() or tensor.dtype == torch.bool or tensor.is_complex()):
            raise TypeError(f"soft_nms: {name} must be integer, got {tensor.dtype}; convert it with .long()")
    _checks.same_device("soft_nms", segments=segments, scores=scores, labels=labels, video_index=video_index)


def _check_num_videos(num_videos: int | None, video_index: Tensor | None) -> None:
    if num_videos is None:
        return
    if num_videos < 1:
        raise ValueError(f"soft_nms: num_videos must be at least 1, or None where it is not known, got {num_videos}")
    if video_index is None:
        raise ValueError(f"soft_nms: num_videos={num_videos} needs video_index, which says of each candidate its video")


def _check_options(
    method: str, sigma: float, iou_threshold: float, min_score: float, voting_threshold: float | None
) -> None:
    if method not in METHODS:
        raise ValueError(f"soft_nms: method must be one of {', '.join(METHODS)}, got {method!r}")
    if method == "gaussian" and not 0 < sigma < math.inf:
        raise ValueError(f"soft_nms: sigma must be positive and finite, got {sigma}")
    if method != "gaussian" and not 0 < iou_threshold <= 1:
        raise ValueError(f"soft_nms: iou_threshold must lie in (0, 1] for method {method!r}, got {iou_threshold}")
    if not 0 <= min_score < math.inf:
        raise ValueError(f"soft_nms: min_score must be at least 0, got {min_score}")
    if voting_threshold is not None and not 0 <= voting_threshold <= 1:
        raise ValueError(f"soft_nms: voting_threshold must lie in (0, 1], or be None or 0, got {voting_threshold}")
