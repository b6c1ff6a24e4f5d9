# SPDX-License-Identifier: Apache-2.0
"""Where feature vectors lie in time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Times = TypeVar("Times", float, NDArray[np.float64], "torch.Tensor")


@dataclass(frozen=True)
class FeatureGrid:
    """Mapping between seconds and feature index: ``t_grid = (t_sec * fps - offset_frame) / stride_frame``.

    Index i stands for the middle of the frames [i * stride, i * stride + window), the convention of ActionFormer
    (ECCV 2022) and OpenTAD, so the offset is half a window unless an extractor is known to differ.

    Args:
        fps: Frames (or sensor samples) per second.
        stride_frame: Frames between two feature vectors.
        window_frame: Frames that one feature vector sees.
        offset_frame: Frame that index 0 stands for; None means ``window_frame / 2``.

    Raises:
        ValueError: When fps, stride or window is not positive and finite.
    """

    fps: float
    stride_frame: float
    window_frame: float
    offset_frame: float | None = None

    def __post_init__(self) -> None:
        for key in ("fps", "stride_frame", "window_frame"):
            value = getattr(self, key)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"FeatureGrid: {key} must be positive and finite, got {value!r}")
        if self.offset_frame is not None and not math.isfinite(self.offset_frame):
            raise ValueError(f"FeatureGrid: offset_frame must be finite or None, got {self.offset_frame!r}")

    @property
    def origin_frame(self) -> float:
        """Frame that index 0 stands for."""
        return self.window_frame / 2 if self.offset_frame is None else self.offset_frame

    @property
    def step_sec(self) -> float:
        """Seconds between two feature vectors."""
        return self.stride_frame / self.fps

    @property
    def reach_grid(self) -> float:
        """Half a window in grid units: how far a feature vector sees to either side of its index."""
        return self.window_frame / 2 / self.stride_frame

    def to_grid(self, seconds: Times) -> Times:
        """Seconds (number, array or tensor of any shape) to grid units."""
        return (seconds * self.fps - self.origin_frame) / self.stride_frame

    def to_sec(self, index: Times) -> Times:
        """Grid units (number, array or tensor of any shape) to seconds; the inverse of `to_grid`."""
        return (index * self.stride_frame + self.origin_frame) / self.fps

    def shifted(self, steps: float) -> FeatureGrid:
        """Grid of the features from index ``steps`` on, so that a crop still knows its place in the recording."""
        return replace(self, offset_frame=self.origin_frame + steps * self.stride_frame)

    def num_steps(self, duration_sec: float) -> int:
        """Feature vectors that whole windows give in a recording of this length (at least 1)."""
        frames = duration_sec * self.fps
        return max(1, math.floor((frames - self.window_frame) / self.stride_frame + 1e-6) + 1)

    def covered_sec(self, num_steps: int) -> float:
        """Seconds from the start of the first window to the end of the last of ``num_steps``."""
        return ((num_steps - 1) * self.stride_frame + self.window_frame) / self.fps
