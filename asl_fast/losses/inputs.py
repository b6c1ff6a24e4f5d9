# SPDX-License-Identifier: Apache-2.0
"""What a detector hands to its loss: shapes checked, and the pyramid's levels joined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Levels = Sequence[Tensor] | Tensor


class LossInputs(NamedTuple):
    """A detector's outputs; the levels' T_l points follow each other, P in all.

    Attributes:
        logits: (B, P, C).
        offsets: (B, P, 2) distances to start and end in strides.
        features: Per level (B, T_l, D), finest first.
        mask: (B, P) bool, True where valid.
        masks: The same per level (B, T_l).
        points: (P, 4) time, range low, range high, stride, in grid units.
    """

    logits: Tensor
    offsets: Tensor
    features: Sequence[Tensor]
    mask: Tensor
    masks: Sequence[Tensor]
    points: Tensor


def join_outputs(
    logits: Levels, offsets: Levels, features: Sequence[Tensor], masks: Levels, points: Levels, num_classes: int
) -> LossInputs:
    """Join the levels of what comes per level, in one copy each; what comes joined is not copied.

    Args:
        logits: Per level (B, T_l, C), or joined (B, P, C); likewise offsets and masks.
        offsets: Per level (B, T_l, 2).
        features: Per level (B, T_l, D), finest first.
        masks: Per level (B, T_l) bool.
        points: Per level (T_l, 4) or joined (P, 4).
        num_classes: C.

    Raises:
        ValueError: Level counts or shapes that do not belong together.
    """
    points = points if isinstance(points, Tensor) else torch.cat(list(points))
    per_level = [levels for levels in (logits, offsets, masks) if not isinstance(levels, Tensor)]
    if not features or any(len(levels) != len(features) for levels in per_level):
        raise ValueError(
            f"logits, offsets, features and masks need one tensor per level, got {_count(logits)}, "
            f"{_count(offsets)}, {len(features)} and {_count(masks)}"
        )
    for level, feature in enumerate(features):
        size = tuple((feature if isinstance(masks, Tensor) else masks[level]).shape[:2])
        for name, given, shape in (
            ("logits", logits, (*size, num_classes)),
            ("offsets", offsets, (*size, 2)),
            ("masks", masks, size),
        ):
            if not isinstance(given, Tensor) and tuple(given[level].shape) != shape:
                raise ValueError(f"{name}[{level}] must be {shape} to fit its mask, got {tuple(given[level].shape)}")
        if tuple(feature.shape[:2]) != size:
            raise ValueError(f"features[{level}] must begin with {size}, got {tuple(feature.shape)}")
    lengths = [feature.shape[1] for feature in features]
    size = (features[0].shape[0], sum(lengths))
    joined = [given if isinstance(given, Tensor) else torch.cat(list(given), 1) for given in (logits, offsets, masks)]
    for name, tensor, shape in zip(
        ("logits", "offsets", "masks", "points"),
        (*joined, points),
        ((*size, num_classes), (*size, 2), size, (size[1], 4)),
        strict=True,
    ):
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} of all levels must be {shape}, got {tuple(tensor.shape)}")
    split = torch.split(joined[2], lengths, 1) if isinstance(masks, Tensor) else masks
    return LossInputs(joined[0], joined[1], features, joined[2], split, points)


def _count(levels: Levels) -> str:
    return "all joined" if isinstance(levels, Tensor) else str(len(levels))
