# SPDX-License-Identifier: Apache-2.0
"""Turning a raw signal into grid features, with what was fitted on the training split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class FeatureTransform:
    """Normalises a raw (N, C) signal per channel and gathers ``samples_per_step`` consecutive samples per grid step.

    The result is (ceil(N / samples_per_step), samples_per_step * C) float32, the channels of the first sample first, so
    ``features.reshape(-1, C)`` is the normalised signal again. The last step is filled up by repeating the last sample,
    so no annotated sample is lost.

    Args:
        mean: (C,) subtracted.
        std: (C,) divided by; positive.
        samples_per_step: Raw samples in one grid step.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    samples_per_step: int = 1

    def __post_init__(self) -> None:
        mean, std = np.asarray(self.mean, np.float64), np.asarray(self.std, np.float64)
        if mean.ndim != 1 or mean.shape != std.shape or not np.isfinite(mean).all() or not (std > 0).all():
            raise ValueError(f"FeatureTransform: mean and std must be finite (C,) with std > 0, got {mean} and {std}")
        if self.samples_per_step < 1:
            raise ValueError(f"FeatureTransform: samples_per_step must be at least 1, got {self.samples_per_step}")
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "std", std)

    @classmethod
    def fit(cls, signals: Iterable[NDArray[Any]], samples_per_step: int = 1) -> FeatureTransform:
        """Mean and standard deviation over every sample of the given (N, C) signals, in float64."""
        count, total, square = 0, np.float64(0), np.float64(0)
        for signal in signals:
            values = np.asarray(signal, np.float64)
            count, total, square = count + len(values), total + values.sum(0), square + np.square(values).sum(0)
        if count == 0:
            raise ValueError("FeatureTransform.fit: no samples; the training split is empty")
        mean = total / count
        std = np.sqrt(np.maximum(square / count - np.square(mean), 0))
        return cls(np.atleast_1d(mean), np.atleast_1d(np.where(std > 0, std, 1.0)), samples_per_step)

    @property
    def num_channels(self) -> int:
        """Channels of the raw signal."""
        return len(self.mean)

    @property
    def feature_dim(self) -> int:
        """Width of a feature vector."""
        return self.num_channels * self.samples_per_step

    def __call__(self, signal: NDArray[Any]) -> NDArray[np.float32]:
        """Raw (N, C) to features (T, samples_per_step * C) float32.

        Raises:
            ValueError: For an empty signal, another number of channels, or a value that is not finite.
        """
        if signal.ndim != 2 or signal.shape[1] != self.num_channels or len(signal) == 0:
            raise ValueError(f"a raw signal must be (N, {self.num_channels}) with N > 0, got {signal.shape}")
        if not np.isfinite(signal).all():
            raise ValueError(f"sample {int(np.argmin(np.isfinite(signal).all(1)))} of the raw signal is not finite")
        normal = ((signal - self.mean) / self.std).astype(np.float32)
        missing = -len(normal) % self.samples_per_step
        if missing:
            normal = np.concatenate([normal, np.repeat(normal[-1:], missing, axis=0)])
        return normal.reshape(-1, self.feature_dim)

    def state(self) -> dict[str, Any]:
        """Plain lists and numbers, for JSON or a checkpoint."""
        return {"mean": self.mean.tolist(), "std": self.std.tolist(), "samples_per_step": self.samples_per_step}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> FeatureTransform:
        """Invert `state`."""
        return cls(np.asarray(state["mean"]), np.asarray(state["std"]), int(state["samples_per_step"]))
