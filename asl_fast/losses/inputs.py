# SPDX-License-Identifier: Apache-2.0
"""What a detector hands to its loss: shapes checked, and the pyramid's levels joined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Levels = Sequence[Tensor] | Tensor


class LossInputs(NamedTuple):
    """A detector's outputs; the levels' T_l points follow each other, P places in all.

    Attributes:
        logits: (B, P, C).
        offsets: (B, P, 2) distances to start and end in strides.
        features: Per level (B, T_l, D), finest first.
        mask: (B, P) bool, True where valid.
        masks: The same per level (B, T_l).
        points: (P, 4) time, range low, range high, stride, in grid units.
        gap: Places between each two levels that belong to none: masked, with points that no instance claims.
    """

    logits: Tensor
    offsets: Tensor
    features: Sequence[Tensor]
    mask: Tensor
    masks: Sequence[Tensor]
    points: Tensor
    gap: int


def join_outputs(
    logits: Levels,
    offsets: Levels,
    features: Sequence[Tensor],
    masks: Levels,
    points: Levels,
    num_classes: int,
    joined_mask: Tensor | None = None,
) -> LossInputs:
    """Join the levels of what comes per level, in one copy each; what comes joined is not copied.

    Args:
        logits: Per level (B, T_l, C), or joined (B, P, C); likewise offsets and masks.
        offsets: Per level (B, T_l, 2).
        features: Per level (B, T_l, D), finest first.
        masks: Per level (B, T_l) bool.
        points: Per level (T_l, 4) or joined (P, 4).
        num_classes: C.
        joined_mask: (B, P) bool beside masks per level; P may be larger than their sum by as many places between each
            two levels, which it masks.

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
    mask = _joined(masks) if joined_mask is None else joined_mask
    gap = 0 if joined_mask is None else _gap(joined_mask, lengths)
    size = (features[0].shape[0], sum(lengths) + gap * (len(lengths) - 1))
    logits, offsets = _joined(logits), _joined(offsets)
    for name, tensor, shape in (
        ("logits", logits, (*size, num_classes)),
        ("offsets", offsets, (*size, 2)),
        ("masks", mask, size),
        ("points", points, (size[1], 4)),
    ):
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} of all levels must be {shape}, got {tuple(tensor.shape)}")
    split = torch.split(masks, lengths, 1) if isinstance(masks, Tensor) else masks
    return LossInputs(logits, offsets, features, mask, split, points, gap)


def channels_last(tensor: Tensor, name: str) -> Tensor:
    """Turn (B, C, T) into (B, T, C), a view.

    Raises:
        ValueError: Naming a tensor with another number of dimensions.
    """
    if tensor.ndim != 3:
        raise ValueError(f"{name} with channels_first must be (B, C, T), got {tuple(tensor.shape)}")
    return tensor.transpose(1, 2)


def all_channels_last(levels: Levels, name: str) -> Levels:
    """Turn (B, C, T) of each level, or of all joined, into (B, T, C), as views.

    Raises:
        ValueError: Naming a tensor with another number of dimensions.
    """
    if isinstance(levels, Tensor):
        return channels_last(levels, name)
    return [channels_last(each, f"{name}[{level}]") for level, each in enumerate(levels)]


def without_channel(masks: Levels) -> Levels:
    """Turn masks (B, 1, T) into (B, T); those that have no channel stay."""
    if isinstance(masks, Tensor):
        return masks.squeeze(1) if masks.ndim == 3 else masks
    return [mask.squeeze(1) if mask.ndim == 3 else mask for mask in masks]


def _joined(levels: Levels) -> Tensor:
    return levels if isinstance(levels, Tensor) else torch.cat(list(levels), 1)


def _gap(joined_mask: Tensor, lengths: Sequence[int]) -> int:
    """Return how many places of a joined mask lie between each two levels of these lengths."""
    gap, rest = divmod(joined_mask.shape[-1] - sum(lengths), max(len(lengths) - 1, 1))
    if rest or gap < 0:
        raise ValueError(
            f"joined_mask must have the {sum(lengths)} places of the levels and as many between each two, "
            f"got {tuple(joined_mask.shape)}"
        )
    return gap


def _count(levels: Levels) -> str:
    return "all joined" if isinstance(levels, Tensor) else str(len(levels))
