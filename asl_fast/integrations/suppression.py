# SPDX-License-Identifier: Apache-2.0
"""Soft-NMS behind the ``batched_nms`` that ActionFormer and what came of it call."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from asl_fast.ops.segment_iou import segment_iou
from asl_fast.ops.soft_nms import soft_nms
from asl_fast.reference.soft_nms import Method

Kept = tuple[Tensor, Tensor, Tensor]

FUNCTION = "batched_nms"
"""What both call their NMS."""


def suppress(
    segments: Tensor,
    scores: Tensor,
    labels: Tensor,
    *,
    method: Method,
    sigma: float,
    iou_threshold: float,
    min_score: float,
    max_segments: int,
    per_class: bool,
    keep_best: bool,
    voting_threshold: float | None,
) -> Kept:
    """Suppress the candidates of one video.

    Args:
        segments: (N, 2).
        scores: (N,).
        labels: (N,) of any type.
        method: Of :func:`asl_fast.soft_nms`, as what is not named here.
        sigma: Of "gaussian".
        iou_threshold: Of the others.
        min_score: Least score.
        max_segments: At least 1.
        per_class: Whether each class is treated on its own.
        keep_best: Whether the best of each group stays whatever its score.
        voting_threshold: None does not vote.

    Returns:
        Segments (M, 2), scores (M,) and labels (M,) by falling score, on the device of the candidates.

    Raises:
        ValueError: For a setting out of range.
    """
    if max_segments < 1:
        raise ValueError(f"max_seg_num must be at least 1, found {max_segments}")
    kept = soft_nms(
        segments,
        scores,
        labels.long() if per_class else None,
        method=method,
        sigma=sigma,
        # Not read by the Gaussian, of which some configurations leave it at 0.
        iou_threshold=0.1 if method == "gaussian" else iou_threshold,
        min_score=min_score,
        max_segments=max_segments,
        voting_threshold=voting_threshold,
        keep_best=keep_best,
    )
    return kept.segments, kept.scores, labels[kept.indices]


def replace_nms(post_processing: Callable[..., Any], ours: Callable[..., Kept], kind: str) -> Callable[[], None]:
    """Put a function in the place of the NMS that a detector's post-processing calls.

    Every module of its project that has this NMS gets ours: where windows of a long recording are joined it is called
    outside of the detector.

    Args:
        post_processing: A method of the detector's class.
        ours: Called with the arguments of ``batched_nms``.
        kind: What the detector should be, for the message.

    Returns:
        What puts the former NMS back.

    Raises:
        TypeError: When the method calls no ``batched_nms``.
    """
    function: Any = getattr(post_processing, "__wrapped__", post_processing)  # below torch.no_grad
    if FUNCTION not in function.__code__.co_names or FUNCTION not in function.__globals__:
        raise TypeError(
            f"{function.__qualname__} calls no {FUNCTION}: this is no {kind}; call asl_fast.soft_nms from its own code"
        )
    theirs = function.__globals__[FUNCTION]
    project = function.__module__.partition(".")[0]
    places = [vars(module) for name, module in list(sys.modules.items()) if name.partition(".")[0] == project]
    places = [place for place in (function.__globals__, *places) if place.get(FUNCTION) is theirs]
    for place in places:
        place[FUNCTION] = ours

    def put_back() -> None:
        for place in places:
            place[FUNCTION] = theirs

    return put_back


def vote(kept: Tensor, segments: Tensor, weights: Tensor, threshold: float) -> Tensor:
    """Move segments to the weighted mean of all that overlap them by at least ``threshold``.

    Args:
        kept: (M, 2).
        segments: (N, 2) all candidates.
        weights: (N,).
        threshold: IoU in (0, 1].

    Returns:
        (M, 2); a segment that overlaps nothing, as it has no length, stays.
    """
    weight = torch.where(segment_iou(kept, segments) >= threshold, weights, 0.0)
    total = weight.sum(1, keepdim=True)
    # Shares first, as OpenTAD rounds: its results are written with two decimals.
    return torch.where(total > 0, (weight / total) @ segments, kept)
