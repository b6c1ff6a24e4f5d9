# SPDX-License-Identifier: Apache-2.0
"""Features of raw recordings that stay in their files: a part of them is made when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.channels import Places
from asl_fast.data.features.rows import Rows
from asl_fast.data.transform import FeatureTransform


class MappedSignalStore:
    """Features of recordings, of which no more is in memory than what is asked for.

    Args:
        files: Of each recording, as `read_signal` maps it.
        samples: Its number of samples.
        transform: Makes features of raw samples.
    """

    def __init__(self, files: Mapping[str, Path], samples: Mapping[str, int], transform: FeatureTransform) -> None:
        self._files, self._samples, self.transform = dict(files), dict(samples), transform
        self._places: dict[str, Places] = {}

    @property
    def dim(self) -> int:
        """Width of a feature vector."""
        return self.transform.feature_dim

    @property
    def names(self) -> tuple[str, ...]:
        """Ids of the recordings, sorted."""
        return tuple(sorted(self._files))

    @property
    def video_ids(self) -> tuple[str, ...]:
        """The same as ``names``: they have no prefix here."""
        return self.names

    def source_files(self, video_id: str) -> tuple[Path, ...]:
        """File that a recording is read from."""
        return (self._files[video_id],)

    def load(self, video_id: str) -> NDArray[np.float32]:
        """Features (T, dim) float32 of a whole recording."""
        return self.rows(video_id).all()

    def rows(self, video_id: str) -> Rows:
        """Open the features of a recording, to be made in parts.

        Raises:
            KeyError: For a recording that is not there.
            ValueError: Naming the file, for one that was changed and cannot be used any more.
        """
        return Rows(self.length(video_id), lambda start, stop: self._make(video_id, start, stop))

    def _make(self, video_id: str, start: int, stop: int) -> NDArray[np.float32]:
        path = self._files[video_id]
        # Mapped anew each time: what was read of an open map would count as this process's memory.
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        if values.shape[:1] != (self._samples[video_id],):
            raise ValueError(f"{path} has changed: it had {self._samples[video_id]} samples, now {values.shape}")
        try:
            if video_id not in self._places:
                self._places[video_id] = self.transform.places(values)
            return self.transform.steps(values, start, stop, self._places[video_id])
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def length(self, video_id: str) -> int:
        """Count feature vectors."""
        if video_id not in self._samples:
            raise KeyError(f"no recording {video_id!r}")
        return -(-self._samples[video_id] // self.transform.samples_per_step)

    def __contains__(self, video_id: object) -> bool:
        return video_id in self._files
