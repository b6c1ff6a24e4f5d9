# SPDX-License-Identifier: Apache-2.0
"""Random changes to raw signals in training: how a device was worn, where a person stood, how fast they moved.

What may be changed follows from the kind of channel (`asl_fast.data.channels`). All sensors of one triaxial group turn
together, as they sit on one body, and groups turn on their own; all joints of a skeleton turn and grow together.
Scalars have no direction and only get noise, are left out, or change their speed with everything else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asl_fast.data.channels import AXES, ChannelGroup, Part, Preparation
from asl_fast.data.grid import FeatureGrid
from asl_fast.data.transform import FeatureTransform


@dataclass(frozen=True, eq=False)
class Change:
    """What happens to one sample.

    Attributes:
        turns: By group the (3, 3) matrix that rotates, scales and mirrors it; None changes nothing.
        dropped: (C,) bool, channels of the prepared signal that are left out.
        speed: Factor by which the recording becomes longer, and velocities smaller.
        jitter_seed: Seed of the noise; None adds none.
        length: Steps after the change of speed; None keeps it.
        segments: (G, 2) in the new grid units.
        grid: Maps them to the same seconds as before.
    """

    turns: tuple[NDArray[np.float64] | None, ...]
    dropped: NDArray[np.bool_]
    speed: float
    jitter_seed: int | None
    length: int | None
    segments: NDArray[np.float64]
    grid: FeatureGrid


@dataclass(frozen=True, eq=False)
class SensorAugmentation:
    """Changes signals by new random amounts for every sample.

    Args:
        transform: What made the features; says what the channels are and how samples are packed, and undoes the
            normalisation for the rotation. Without groups of channels, all are sensors on one body.
        rotation_sd_deg: Standard deviation of each component of the rotation vector of a triaxial group or skeleton.
        speed_range: The recording is stretched in time by a factor drawn from [1 - speed_range, 1 + speed_range].
        turn_sd_deg: Standard deviation of a further rotation about the vertical, where a group has one.
        scale_range: Skeletons are enlarged by a factor drawn from [1 - scale_range, 1 + scale_range].
        jitter_sd: Standard deviation of noise on every value, relative to that of its channel.
        channel_dropout: Probability that a sensor of three axes, a joint other than the root, or a scalar is left out,
            which means that its mean is put in its place.
        mirror_probability: Probability that a group is mirrored; every group must say along which axis that may be.

    Raises:
        ValueError: For an amount out of its range, channels that do not come in threes, or groups that may not be
            mirrored.
    """

    transform: FeatureTransform
    rotation_sd_deg: float = 0.0
    speed_range: float = 0.0
    turn_sd_deg: float = 0.0
    scale_range: float = 0.0
    jitter_sd: float = 0.0
    channel_dropout: float = 0.0
    mirror_probability: float = 0.0

    def __post_init__(self) -> None:
        for name in ("rotation_sd_deg", "turn_sd_deg", "jitter_sd"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("speed_range", "scale_range", "channel_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if not 0 <= self.mirror_probability <= 1:
            raise ValueError(f"mirror_probability must lie in [0, 1], got {self.mirror_probability}")
        channels = self.transform.num_channels
        if self.transform.preparation is None and self.rotation_sd_deg and channels % 3:
            raise ValueError(
                f"a rotation needs sensors of three axes each, got {channels} channels; set rotation_sd_deg to 0, or "
                "say what the channels are"
            )
        if self.mirror_probability:
            fixed = next((group for group in self._preparation.channels if group.mirror is None), None)
            if fixed is not None:
                raise ValueError(
                    f"mirror_probability is {self.mirror_probability}, but channels {fixed.name or fixed.kind!r} have "
                    "no 'mirror' axis: nothing says that the actions stay the same in a mirror; set it to 0"
                )

    @property
    def is_active(self) -> bool:
        """Whether anything is changed at all."""
        return any(
            (
                self.rotation_sd_deg,
                self.speed_range,
                self.turn_sd_deg,
                self.scale_range,
                self.jitter_sd,
                self.channel_dropout,
                self.mirror_probability,
            )
        )

    @property
    def _preparation(self) -> Preparation:
        channels, given = self.transform.num_channels, self.transform.preparation
        # Of channels about which nothing is known, only those in threes can be sensors.
        unknown = ChannelGroup("scalar" if channels % 3 else "triaxial", channels)
        return Preparation((unknown,)) if given is None else given

    def _units_of_dropout(self) -> tuple[NDArray[np.intp], ...]:
        """Channels of the prepared signal that are left out together."""
        parts, units = self._preparation.parts, []
        for number, group in enumerate(self._preparation.channels):
            starts = [part.start for part in parts if part.group == number]
            width, first = (1, 0) if group.kind == "scalar" else (3, 3 if group.kind == "skeleton" else 0)
            for at in range(first, group.size, width):
                units.append(np.concatenate([np.arange(start + at, start + at + width) for start in starts]))
        return tuple(units)

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
        groups, units = self._preparation.channels, self._units_of_dropout()
        vectors = generator.normal(size=(len(groups), 3)) * math.radians(self.rotation_sd_deg)
        factor = 1.0 + generator.uniform(-1.0, 1.0) * self.speed_range
        angles = generator.normal(size=len(groups)) * math.radians(self.turn_sd_deg)
        scales = 1.0 + generator.uniform(-1.0, 1.0, size=len(groups)) * self.scale_range
        mirrored = generator.uniform(size=len(groups)) < self.mirror_probability
        left_out = generator.uniform(size=len(units)) < self.channel_dropout
        seed = int(generator.integers(2**63))
        turns = tuple(
            self._turn(group, vectors[number], angles[number], scales[number], bool(mirrored[number]))
            for number, group in enumerate(groups)
        )
        dropped = np.zeros(self.transform.num_channels, np.bool_)
        for unit, out in zip(units, left_out, strict=True):
            dropped[unit] = out
        jitter_seed = seed if self.jitter_sd else None
        if not self.speed_range:
            return Change(turns, dropped, 1.0, jitter_seed, None, segments, grid)
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
        moved = (segments + reach) * factor - reach
        return Change(turns, dropped, factor, jitter_seed, length, moved, stretched)

    def _turn(
        self, group: ChannelGroup, vector: NDArray[np.float64], angle: float, scale: float, mirrored: bool
    ) -> NDArray[np.float64] | None:
        """Return the matrix of one group; None where it is the identity."""
        if group.kind == "scalar":
            return None
        turn = rotation_matrix(vector) if self.rotation_sd_deg else None
        if self.turn_sd_deg and group.up is not None:
            about = rotation_matrix(angle * np.eye(3)[AXES.index(group.up)])
            turn = about if turn is None else turn @ about
        if self.scale_range and group.kind == "skeleton":
            turn = scale * (np.eye(3) if turn is None else turn)
        if mirrored and group.mirror is not None:
            flip = np.where(np.arange(3) == AXES.index(group.mirror), -1.0, 1.0)
            turn = (np.eye(3) if turn is None else turn) * flip
        return turn

    def apply(self, features: Tensor, change: Change) -> Tensor:
        """Change features (T, D) float32, as `FeatureTransform` packs them, on the device where they lie."""
        for part in self._preparation.parts:
            turn = change.turns[part.group]
            slower = change.speed if part.is_velocity else 1.0
            if turn is not None or slower != 1.0:
                features = self._turned(features, part, turn, slower)
        if change.length is not None:
            features = self._stretched(features, change.length)
        if change.dropped.any():
            kept = torch.as_tensor(~change.dropped, device=features.device)
            signal = features.reshape(-1, self.transform.num_channels)
            features = torch.where(kept, signal, signal.new_zeros(())).view(features.shape)
        if change.jitter_seed is not None:
            # Drawn on the CPU, so that it is the same noise on every device.
            noise = np.random.default_rng(change.jitter_seed).standard_normal(features.shape, np.float32)
            features = features + torch.from_numpy(noise).to(features.device) * self.jitter_sd
        return features

    def _turned(self, features: Tensor, part: Part, turn: NDArray[np.float64] | None, slower: float) -> Tensor:
        """Apply the matrix to every three channels of a part, and divide velocities by the change of speed."""
        where = part.channels
        mean, std = (
            torch.as_tensor(x[where], dtype=torch.float64, device=features.device)
            for x in (self.transform.mean, self.transform.std)
        )
        changed = features.reshape(-1, self.transform.num_channels).clone()
        signal = changed[:, where] * std + mean
        if turn is not None:
            matrix = torch.as_tensor(turn, dtype=torch.float64, device=features.device)
            axes = signal.view(-1, part.size // 3, 3)
            # Not a product of matrices, whose rounding is another on every device.
            turned = axes[..., :1] * matrix[:, 0] + axes[..., 1:2] * matrix[:, 1] + axes[..., 2:] * matrix[:, 2]
            signal = turned.view(-1, part.size)
        changed[:, where] = ((signal / slower - mean) / std).float()
        return changed.view(features.shape)

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
