# SPDX-License-Identifier: Apache-2.0
"""The interface that every source of features implements, and the one that holds them in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from asl_fast.wording import count


@runtime_checkable
class FeatureStore(Protocol):
    """Features of many videos."""

    @property
    def dim(self) -> int:
        """Width of a feature vector."""
        ...

    def load(self, video_id: str) -> NDArray[np.float32]:
        """Features (T, dim) float32 of one video."""
        ...

    def length(self, video_id: str) -> int:
        """Count feature vectors, T, without reading them where the format allows."""
        ...

    def __contains__(self, video_id: object) -> bool: ...


@runtime_checkable
class NamedFeatureStore(FeatureStore, Protocol):
    """Features of videos that the store can list."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names that the features are stored by, sorted: video ids, with a prefix where there is one."""
        ...

    @property
    def video_ids(self) -> tuple[str, ...]:
        """Ids of the videos that have features, sorted."""
        ...


class InMemoryFeatureStore:
    """Features held in a dictionary.

    Attributes:
        in_memory: True: nothing is read, so that nobody need keep what is loaded.

    Args:
        features: Video id -> (T, D); anything but float32 is converted. D is the same for all.

    Raises:
        ValueError: Naming the video, when it is not 2-d, is empty, has another width or a value that is not finite.
    """

    in_memory = True

    def __init__(self, features: Mapping[str, NDArray[Any]]) -> None:
        if not features:
            raise ValueError("InMemoryFeatureStore: no videos")
        self._features: dict[str, NDArray[np.float32]] = {}
        self._dim = -1
        for video_id, values in features.items():
            array = np.ascontiguousarray(values, dtype=np.float32)
            self._dim = array.shape[-1] if self._dim < 0 else self._dim
            check_features(array, self._dim, f"video {video_id!r}")
            self._features[video_id] = array

    @property
    def dim(self) -> int:
        """Width of a feature vector."""
        return self._dim

    @property
    def names(self) -> tuple[str, ...]:
        """Ids of the videos that are held, sorted."""
        return tuple(sorted(self._features))

    @property
    def video_ids(self) -> tuple[str, ...]:
        """The same as ``names``: they have no prefix here."""
        return self.names

    def load(self, video_id: str) -> NDArray[np.float32]:
        """Features (T, dim) of one video, not copied."""
        if video_id not in self._features:
            raise KeyError(f"no features for video {video_id!r}; {count(len(self._features), 'video')} held")
        return self._features[video_id]

    def length(self, video_id: str) -> int:
        """Count feature vectors of one video."""
        return len(self.load(video_id))

    def __contains__(self, video_id: object) -> bool:
        return video_id in self._features


LARGEST_VALUE = 1e18
"""No feature is larger: its square, which every norm takes, would come near the end of float32."""


def check_shape(shape: tuple[int, ...], dim: int | None, where: str) -> None:
    """Raise ValueError, beginning with ``where``, unless the shape is (T > 0, dim)."""
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"{where}: features must be (T, D) with T, D > 0, got shape {shape}{_too_many(shape)}")
    if dim is not None and shape[1] != dim:
        hint = "; it looks transposed: --layout CT reads (channels, time)" if shape[0] == dim else ""
        raise ValueError(f"{where}: features have width {shape[1]}, expected {dim}{hint}")


def _too_many(shape: tuple[int, ...]) -> str:
    return "; average over the dimensions that are neither (views, height, width)" if len(shape) > 2 else ""


def check_features(array: NDArray[Any], dim: int | None, where: str, *, first_step: int = 0) -> None:
    """Raise ValueError, beginning with ``where``, unless the array is (T > 0, dim) and its values are usable.

    They are when they are finite and not beyond ``LARGEST_VALUE``. ``first_step`` is the step of the recording that the
    array begins with.
    """
    check_shape(array.shape, dim, where)
    if (place := first_beyond(array, LARGEST_VALUE)) is not None:
        step, channel = place
        found = f"value {array[place]} at step {first_step + step}, channel {channel}"
        raise ValueError(f"{where}: {found}; extract these features again")


def first_beyond(array: NDArray[Any], limit: float) -> tuple[int, ...] | None:
    """Return the place of the first value of an array, not empty, that is NaN or larger in size than ``limit``."""
    # A NaN is neither above nor below.
    if array.min() >= -limit and array.max() <= limit:
        return None
    return tuple(int(i) for i in np.argwhere(~(np.abs(array) <= limit))[0])
