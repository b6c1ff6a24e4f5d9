# SPDX-License-Identifier: Apache-2.0
"""Features of several extractors or streams side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.features.rows import Rows, open_rows, side_by_side
from asl_fast.data.features.store import NamedFeatureStore

TOLERANCE_STEPS = 4
"""Largest difference in length that is taken for an extractor's rounding at the end."""


class ConcatenatedFeatureStore:
    """Several extractors side by side, cut to the shortest.

    Args:
        stores: One store per extractor, in channel order.
        tolerance: Largest difference in length that is taken for an extractor's rounding at the end.

    Raises:
        ValueError: When no store is given.
    """

    def __init__(self, stores: Sequence[NamedFeatureStore], *, tolerance: int = TOLERANCE_STEPS) -> None:
        if not stores:
            raise ValueError("ConcatenatedFeatureStore: no stores")
        self.stores = tuple(stores)
        self.tolerance = tolerance

    @property
    def dim(self) -> int:
        """Width of a feature vector, all extractors together."""
        return sum(store.dim for store in self.stores)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the first extractor's files or entries."""
        return self.stores[0].names

    @property
    def video_ids(self) -> tuple[str, ...]:
        """Ids of the videos that every extractor has."""
        return tuple(sorted(set.intersection(*(set(store.video_ids) for store in self.stores))))

    def source_files(self, video_id: str) -> tuple[Path, ...]:
        """Files that a video's features are read from, as far as the extractors' stores say."""
        known = [getattr(store, "source_files", None) for store in self.stores]
        return tuple(path for files in known if files is not None for path in files(video_id))

    def load(self, video_id: str) -> NDArray[np.float32]:
        """Features (T, dim) float32; raises ValueError when the extractors disagree on the length."""
        arrays = [store.load(video_id) for store in self.stores]
        steps = self._common(video_id, (len(array) for array in arrays))
        return np.concatenate([array[:steps] for array in arrays], axis=1)

    def rows(self, video_id: str) -> Rows:
        """Open the features of one video, to be read in parts; raises as `load`."""
        parts = [open_rows(store, video_id) for store in self.stores]
        return side_by_side(parts, self._common(video_id, (part.num_steps for part in parts)))

    def length(self, video_id: str) -> int:
        """Count the feature vectors that all extractors have."""
        return self._common(video_id, (store.length(video_id) for store in self.stores))

    def __contains__(self, video_id: object) -> bool:
        return all(video_id in store for store in self.stores)

    @property
    def transposed(self) -> bool:
        """Whether the arrays of any of them are (D, T)."""
        return any(getattr(store, "transposed", False) for store in self.stores)

    def _common(self, video_id: str, lengths: Iterable[int]) -> int:
        return common_length(f"video {video_id!r}", list(lengths), self.tolerance)


def common_length(where: str, steps: Sequence[int], tolerance: int = TOLERANCE_STEPS) -> int:
    """Count the feature vectors that all extractors have.

    Args:
        where: The video or file, for messages.
        steps: Number of each extractor.
        tolerance: Largest difference.

    Raises:
        ValueError: When they differ by more.
    """
    if max(steps) - min(steps) > tolerance:
        raise ValueError(
            f"{where}: the extractors give {list(steps)} feature vectors, more than {tolerance} apart; they were not "
            "extracted with the same stride"
        )
    return min(steps)
