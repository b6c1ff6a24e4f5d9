# SPDX-License-Identifier: Apache-2.0
"""Random changes to sensor recordings in training: how the device was worn, and how fast its wearer moved."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asl_fast.data.grid import FeatureGrid
from asl_fast.data.transform import FeatureTransform


@dataclass(frozen=True, eq=False)
class Change:
    """What happens to one sample.

    Attributes:
        rotation: (3, 3) by which every sensor is turned; None turns none.
        length: Steps after the change of speed; None keeps it.
        segments: (G, 2) in the new grid units.
        grid: Maps them to the same seconds as before.
    """

    rotation: NDArray[np.float64] | None
    length: int | None
    segments: NDArray[np.float64]
    grid: FeatureGrid


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

    def draw(
        self, segments: NDArray[np.float64], grid: FeatureGrid, num_steps: int, generator: np.random.Generator
    ) -> Change:
        """Draw what happens to one sample.

        Args:
            segments: (G, 2) in grid units.
            grid: Of the features.
            num_steps: T of the features.
            generator: Source of the random amounts; always asked for the same number of them.
        """
        rotation_vector = generator.normal(size=3) * math.radians(self.rotation_sd_deg)
        factor = 1.0 + generator.uniform(-1.0, 1.0) * self.speed_range
        rotation = rotation_matrix(rotation_vector) if self.rotation_sd_deg else None
        if not self.speed_range:
            return Change(rotation, None, segments, grid)
        length = max(1, round(num_steps * factor))
        factor = length / num_steps
        # Index i lies at the middle of its step, `reach` steps after the step begins; steps are what is stretched.
        reach = grid.reach_grid
        stretched = replace(
            grid,
            stride_frame=grid.stride_frame / factor,
            window_frame=grid.window_frame / factor,
            offset_frame=grid.origin_frame + reach * grid.stride_frame * (1.0 / factor - 1.0),
        )
        return Change(rotation, length, (segments + reach) * factor - reach, stretched)

    def apply(self, features: Tensor, change: Change) -> Tensor:
        """Change features (T, D) float32, as `FeatureTransform` packs them, on the device where they lie."""
        if change.rotation is not None:
            features = self._rotated(features, change.rotation)
        return features if change.length is None else self._stretched(features, change.length)

    def _rotated(self, features: Tensor, rotation: NDArray[np.float64]) -> Tensor:
        mean, std, turn = (
            torch.as_tensor(x, dtype=torch.float64, device=features.device)
            for x in (self.transform.mean, self.transform.std, rotation)
        )
        channels = self.transform.num_channels
        signal = (features.reshape(-1, channels) * std + mean).view(-1, channels // 3, 3)
        # Not a product of matrices, whose rounding is another on every device.
        turned = signal[..., :1] * turn[:, 0] + signal[..., 1:2] * turn[:, 1] + signal[..., 2:] * turn[:, 2]
        return ((turned.view(-1, channels) - mean) / std).float().view(features.shape)

    def _stretched(self, features: Tensor, length: int) -> Tensor:
        samples, device = self.transform.samples_per_step, features.device
        signal = features.reshape(len(features) * samples, -1)
        wanted = length * samples
        # Positions of the new samples on the old time axis, middle to middle.
        steps = torch.arange(wanted, dtype=torch.float64, device=device)
        position = ((steps + 0.5) * (len(signal) / wanted) - 0.5).clamp(0, len(signal) - 1)
        before = position.long().clamp(max=max(len(signal) - 2, 0))
        after = (before + 1).clamp(max=len(signal) - 1)
        share = (position - before).float()[:, None]
        return (signal[before] * (1 - share) + signal[after] * share).view(length, -1)


def rotation_matrix(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 3) rotation by |vector| radians about vector (Rodrigues' formula)."""
    angle = float(np.linalg.norm(vector))
    if angle == 0.0:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn: NDArray[np.float64] = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    return turn
