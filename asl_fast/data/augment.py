# SPDX-License-Identifier: Apache-2.0
"""Random changes to sensor recordings in training: how the device was worn, and how fast its wearer moved."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.grid import FeatureGrid
from asl_fast.data.transform import FeatureTransform


@dataclass(frozen=True, eq=False)
class SensorAugmentation:
    """Rotates tri-axial sensors and changes the speed of a recording, by new random amounts for every sample.

    Args:
        transform: What made the features; says how samples are packed, and undoes the normalisation for the rotation.
        rotation_sd_deg: Standard deviation of each component of the rotation vector; all sensors turn together.
        speed_range: The recording is stretched in time by a factor drawn from [1 - speed_range, 1 + speed_range].

    Raises:
        ValueError: For a negative amount, a speed range of 1 or more, or channels that do not come in threes.
    """

    transform: FeatureTransform
    rotation_sd_deg: float = 0.0
    speed_range: float = 0.0

    def __post_init__(self) -> None:
        if self.rotation_sd_deg < 0:
            raise ValueError(f"rotation_sd_deg must not be negative, got {self.rotation_sd_deg}")
        if not 0 <= self.speed_range < 1:
            raise ValueError(f"speed_range must lie in [0, 1), got {self.speed_range}")
        if self.rotation_sd_deg and self.transform.num_channels % 3:
            raise ValueError(
                f"a rotation needs sensors of three axes each, got {self.transform.num_channels} channels; "
                "set rotation_sd_deg to 0"
            )

    def __call__(
        self,
        features: NDArray[np.float32],
        segments: NDArray[np.float64],
        grid: FeatureGrid,
        generator: np.random.Generator,
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], FeatureGrid]:
        """Make a changed copy of one sample.

        Args:
            features: (T, D) as `FeatureTransform` packs them.
            segments: (G, 2) in grid units.
            grid: Of the features.
            generator: Source of the random amounts; always asked for the same number of them.

        Returns:
            Features (T', D), segments in the new grid units, and the grid that still maps them to the same seconds.
        """
        rotation_vector = generator.normal(size=3) * math.radians(self.rotation_sd_deg)
        factor = 1.0 + generator.uniform(-1.0, 1.0) * self.speed_range
        if self.rotation_sd_deg:
            features = self._rotated(features, rotation_vector)
        if not self.speed_range:
            return features, segments, grid
        length = max(1, round(len(features) * factor))
        factor = length / len(features)
        features = self._stretched(features, length)
        # Index i lies at the middle of its step, `reach` steps after the step begins; steps are what is stretched.
        reach = grid.reach_grid
        stretched = replace(
            grid,
            stride_frame=grid.stride_frame / factor,
            window_frame=grid.window_frame / factor,
            offset_frame=grid.origin_frame + reach * grid.stride_frame * (1.0 / factor - 1.0),
        )
        return features, (segments + reach) * factor - reach, stretched

    def _rotated(self, features: NDArray[np.float32], rotation_vector: NDArray[np.float64]) -> NDArray[np.float32]:
        channels, mean, std = self.transform.num_channels, self.transform.mean, self.transform.std
        turn = rotation_matrix(rotation_vector)
        signal = (features.reshape(-1, channels) * std + mean).reshape(-1, channels // 3, 3) @ turn.T
        normal: NDArray[Any] = (signal.reshape(-1, channels) - mean) / std
        return normal.astype(np.float32).reshape(features.shape)

    def _stretched(self, features: NDArray[np.float32], length: int) -> NDArray[np.float32]:
        samples = self.transform.samples_per_step
        signal = features.reshape(len(features) * samples, -1)
        wanted = length * samples
        # Positions of the new samples on the old time axis, middle to middle.
        position = np.clip((np.arange(wanted) + 0.5) * (len(signal) / wanted) - 0.5, 0, len(signal) - 1)
        before = np.minimum(position.astype(np.int64), max(len(signal) - 2, 0))
        after = np.minimum(before + 1, len(signal) - 1)
        share = (position - before).astype(np.float32)[:, None]
        stretched: NDArray[np.float32] = signal[before] * (1 - share) + signal[after] * share
        return stretched.reshape(length, -1)


def rotation_matrix(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 3) rotation by |vector| radians about vector (Rodrigues' formula)."""
    angle = float(np.linalg.norm(vector))
    if angle == 0.0:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn: NDArray[np.float64] = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    return turn
