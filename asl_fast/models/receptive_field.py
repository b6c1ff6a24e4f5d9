# SPDX-License-Identifier: Apache-2.0
"""How far around a point the detector looks: what lies farther away cannot change what it says there."""

from __future__ import annotations

import math
from typing import NamedTuple

from asl_fast.models.config import DetectorConfig


class Reach(NamedTuple):
    """Grid steps of the input that an output depends on, before and after the time that it stands for.

    Attributes:
        left_grid: Steps before.
        right_grid: Steps after.
    """

    left_grid: int
    right_grid: int

    def widened(self, steps_grid: int) -> Reach:
        """Return the reach of what is computed from neighbours up to so many grid steps away."""
        return Reach(self.left_grid + steps_grid, self.right_grid + steps_grid)

    def united(self, other: Reach) -> Reach:
        """Return the reach of what is computed from both."""
        return Reach(max(self.left_grid, other.left_grid), max(self.right_grid, other.right_grid))


def receptive_field(config: DetectorConfig) -> Reach | None:
    """Compute the receptive field of the detector's outputs, of all levels together.

    It is followed through the layers as :class:`asl_fast.models.detector.ActionDetector` composes them: a convolution
    of width k adds k // 2 steps of its level to both sides, an attention window its half, bins of boundary distances
    their number, and a level of the pyramid whose points lie at multiples of 2 ** level counts that many grid steps for
    one of its own.

    Args:
        config: The architecture.

    Returns:
        Grid steps before and after a point; None where some level attends to the whole sequence.
    """
    if config.backbone == "transformer" and 0 in config.windows:
        return None
    reach = Reach(0, 0).widened(_front_end_grid(config) + config.embedding_layers * (config.kernel_size // 2))
    for _ in range(config.stem_blocks):
        reach = reach.widened(_block_grid(config, config.windows[0], level=0, stride=1))
    levels = [reach]
    for level in range(1, config.num_levels):
        reach = reach.widened(_block_grid(config, config.windows[level], level=level, stride=2))
        levels.append(reach)
    window = config.windows[config.first_level]
    levels = [
        reach.widened(config.head_blocks * _block_grid(config, window, level=level, stride=1))
        for level, reach in enumerate(levels[config.first_level :], config.first_level)
    ]
    if config.fpn:
        levels = _after_pyramid(levels, config.first_level)
    head = config.head_layers * (config.kernel_size // 2) + config.offset_bins
    whole = Reach(0, 0)
    for level, reach in enumerate(levels, config.first_level):
        whole = whole.united(reach.widened(head * 2**level))
    return whole


def _front_end_grid(config: DetectorConfig) -> int:
    """Grid steps, rounded up, that the convolutions on raw samples reach to either side."""
    if config.front_end is None:
        return 0
    samples, spacing = 0, 1
    for stride in config.front_end.strides:
        samples += config.front_end.kernel_size // 2 * spacing
        spacing *= stride
    return math.ceil(samples / config.front_end.samples_per_step)


def _block_grid(config: DetectorConfig, window: int, *, level: int, stride: int) -> int:
    """Grid steps that a block with outputs on ``level`` reaches to either side."""
    after: int = 2**level
    before = after // stride  # of the block's input, which its first convolution of width 3 (or max-pool) reads
    if config.backbone == "conv":
        return before + after
    return before + window // 2 * after


def _after_pyramid(levels: list[Reach], first_level: int) -> list[Reach]:
    """Follow the top-down path of the feature pyramid and its convolutions of width 3."""
    merged = list(levels)
    for i in range(len(merged) - 1, 0, -1):
        # Every second point of the finer level takes the value of a coarser point one finer step before it.
        coarser = merged[i]
        shifted = Reach(coarser.left_grid + 2 ** (first_level + i - 1), coarser.right_grid)
        merged[i - 1] = merged[i - 1].united(shifted)
    return [reach.widened(2**level) for level, reach in enumerate(merged, first_level)]
