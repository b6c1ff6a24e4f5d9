# SPDX-License-Identifier: Apache-2.0
"""Turning a raw signal into grid features, with what was fitted on the training split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.channels import Preparation


@dataclass(frozen=True, eq=False)
class FeatureTransform:
    """Prepares a raw signal, normalises it per channel and gathers ``samples_per_step`` samples per grid step.

    The result is (ceil(N / samples_per_step), samples_per_step * C) float32, the channels of the first sample first, so
    ``features.reshape(-1, C)`` is the normalised signal again. The last step is filled up by repeating the last sample,
    so no annotated sample is lost.

    Args:
        mean: (C,) subtracted.
        std: (C,) divided by; positive.
        samples_per_step: Raw samples in one grid step.
        preparation: From the channels of the raw signal to the C that are normalised; None takes them as they are.
        clip_sd: Normalised values are limited to so many standard deviations, as tracking may lose a hand and find it
            metres away; 0 limits nothing.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    samples_per_step: int = 1
    preparation: Preparation | None = None
    clip_sd: float = 0.0

    def __post_init__(self) -> None:
        mean, std = np.asarray(self.mean, np.float64), np.asarray(self.std, np.float64)
        if mean.ndim != 1 or mean.shape != std.shape or not np.isfinite(mean).all() or not (std > 0).all():
            raise ValueError(f"FeatureTransform: mean and std must be finite (C,) with std > 0, got {mean} and {std}")
        if self.samples_per_step < 1:
            raise ValueError(f"FeatureTransform: samples_per_step must be at least 1, got {self.samples_per_step}")
        if not self.clip_sd >= 0:
            raise ValueError(f"FeatureTransform: clip_sd must not be negative, got {self.clip_sd}")
        if self.preparation is not None and self.preparation.num_channels != len(mean):
            raise ValueError(
                f"FeatureTransform: {self.preparation.num_channels} prepared channels, but mean and std of {len(mean)}"
            )
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "std", std)

    @classmethod
    def fit(
        cls,
        signals: Iterable[NDArray[Any]],
        samples_per_step: int = 1,
        preparation: Preparation | None = None,
        clip_sd: float = 0.0,
    ) -> FeatureTransform:
        """Mean and standard deviation over every sample of the given raw signals, once prepared, in float64."""
        count, total, square = 0, np.float64(0), np.float64(0)
        for signal in signals:
            values = np.asarray(signal, np.float64) if preparation is None else preparation(signal)
            count, total, square = count + len(values), total + values.sum(0), square + np.square(values).sum(0)
        if count == 0:
            raise ValueError("FeatureTransform.fit: no samples; the training split is empty")
        mean = total / count
        std = np.sqrt(np.maximum(square / count - np.square(mean), 0))
        spread = np.atleast_1d(np.where(std > 0, std, 1.0))
        return cls(np.atleast_1d(mean), spread, samples_per_step, preparation, clip_sd)

    @property
    def num_raw(self) -> int:
        """Channels of the raw signal."""
        return self.num_channels if self.preparation is None else self.preparation.num_raw

    @property
    def num_channels(self) -> int:
        """Channels of the prepared signal."""
        return len(self.mean)

    @property
    def feature_dim(self) -> int:
        """Width of a feature vector."""
        return self.num_channels * self.samples_per_step

    def __call__(self, signal: NDArray[Any]) -> NDArray[np.float32]:
        """Raw (N, num_raw) to features (T, samples_per_step * C) float32.

        Raises:
            ValueError: For an empty signal, another number of channels, or a value that is not finite.
        """
        if signal.ndim != 2 or signal.shape[1] != self.num_raw or len(signal) == 0:
            raise ValueError(f"a raw signal must be (N, {self.num_raw}) with N > 0, got {signal.shape}")
        if not np.isfinite(signal).all():
            raise ValueError(f"sample {int(np.argmin(np.isfinite(signal).all(1)))} of the raw signal is not finite")
        prepared = signal if self.preparation is None else self.preparation(signal)
        normal = ((prepared - self.mean) / self.std).astype(np.float32)
        if self.clip_sd:
            normal = normal.clip(-self.clip_sd, self.clip_sd)
        missing = -len(normal) % self.samples_per_step
        if missing:
            normal = np.concatenate([normal, np.repeat(normal[-1:], missing, axis=0)])
        return normal.reshape(-1, self.feature_dim)

    def state(self) -> dict[str, Any]:
        """Plain lists and numbers, for JSON or a checkpoint."""
        return {
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "samples_per_step": self.samples_per_step,
            "preparation": None if self.preparation is None else self.preparation.state(),
            "clip_sd": self.clip_sd,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> FeatureTransform:
        """Invert `state`; what older versions did not write is as it was before it came."""
        prepared = state.get("preparation")
        return cls(
            np.asarray(state["mean"]),
            np.asarray(state["std"]),
            int(state["samples_per_step"]),
            None if prepared is None else Preparation.from_state(prepared),
            float(state.get("clip_sd", 0.0)),
        )
