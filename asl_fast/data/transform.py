# SPDX-License-Identifier: Apache-2.0
"""Turning a raw signal into grid features, with what was fitted on the training split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.channels import Places, Preparation

_PART_BYTES = 1 << 28
"""Prepared samples in float64 that are in memory together, of a recording that has more."""


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
        names: Of the channels of the raw signal, where their files name them.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    samples_per_step: int = 1
    preparation: Preparation | None = None
    clip_sd: float = 0.0
    names: tuple[str, ...] | None = None

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
        """Take mean and standard deviation over every sample of the raw signals, once prepared, in float64.

        Of a signal that is mapped from its file no more than a part is in memory.
        """
        count, total, square = 0, np.float64(0), np.float64(0)
        for values in (part for signal in signals for part in _prepared_parts(signal, preparation)):
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
        return self.steps(signal, 0, -(-len(signal) // self.samples_per_step))

    def places(self, signal: NDArray[Any]) -> Places:
        """Find what has to be known of a whole recording to prepare a part of it; see `Preparation.places`."""
        return () if self.preparation is None else self.preparation.places(signal)

    def steps(self, signal: NDArray[Any], start: int, stop: int, places: Places | None = None) -> NDArray[np.float32]:
        """Make the features of steps ``[start, stop)`` of a recording; no other part of it is read but for its places.

        Args:
            signal: The whole recording, (N, num_raw).
            start: First step.
            stop: Step after the last.
            places: Of the recording; None finds them.

        Raises:
            ValueError: As when called.
        """
        if signal.ndim != 2 or signal.shape[1] != self.num_raw or len(signal) == 0:
            raise ValueError(f"a raw signal must be (N, {self.num_raw}) with N > 0, got {signal.shape}")
        first, last = start * self.samples_per_step, min(stop * self.samples_per_step, len(signal))
        if not np.isfinite(signal[first:last]).all():
            sample = first + int(np.argmin(np.isfinite(signal[first:last]).all(1)))
            raise ValueError(f"sample {sample} of the raw signal is not finite")
        prepared = _prepared(signal, first, last, self.preparation, places)
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
            "names": None if self.names is None else list(self.names),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> FeatureTransform:
        """Invert `state`; what older versions did not write is as it was before it came."""
        prepared, names = state.get("preparation"), state.get("names")
        return cls(
            np.asarray(state["mean"]),
            np.asarray(state["std"]),
            int(state["samples_per_step"]),
            None if prepared is None else Preparation.from_state(prepared),
            float(state.get("clip_sd", 0.0)),
            None if names is None else tuple(names),
        )


def _prepared(
    signal: NDArray[Any], first: int, last: int, preparation: Preparation | None, places: Places | None
) -> NDArray[Any]:
    """Prepare samples ``[first, last)`` of a recording."""
    if preparation is None:
        return signal[first:last]
    places = preparation.places(signal) if places is None else places
    before, after = min(preparation.reach, first), min(preparation.reach, len(signal) - last)
    return preparation(signal[first - before : last + after], places)[before : before + last - first]


def _prepared_parts(signal: NDArray[Any], preparation: Preparation | None) -> Iterator[NDArray[np.float64]]:
    """Prepare a recording part by part, most often in one."""
    places = None if preparation is None else preparation.places(signal)
    width = signal.shape[1] if preparation is None else max(preparation.num_raw, preparation.num_channels)
    size = max(1, _PART_BYTES // (8 * width))
    for first in range(0, len(signal), size):
        yield np.asarray(_prepared(signal, first, min(first + size, len(signal)), preparation, places), np.float64)
