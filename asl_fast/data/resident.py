# SPDX-License-Identifier: Apache-2.0
"""The features of a whole split in memory, a GPU's or the machine's: no file is read after the start."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import Dataset

from asl_fast.data.dataset import DetectionDataset, Sample
from asl_fast.data.grid import FeatureGrid


class ResidentFeatures(Dataset[Sample]):
    """Features of every video of a split, on a device.

    Samples are drawn as the data set draws them, from the same random numbers, and are cut out where the features lie;
    so they are those of the data set to the bit. Processes that are forked off share what lies in the machine's memory.

    Args:
        dataset: The split.
        device: Where its features go.

    Attributes:
        device: Where they are.
        features: (T, D) float32 of each video.
    """

    def __init__(self, dataset: DetectionDataset, device: torch.device) -> None:
        self.dataset, self.device = dataset, device
        self.features: list[Tensor] = []
        self._grids: list[FeatureGrid] = []
        for index in range(len(dataset)):
            rows, grid = dataset.rows(index)
            # Copied: the store may hand out memory that must not be written, or that it uses again.
            self.features.append(torch.tensor(rows.all(), dtype=torch.float32).to(device))
            self._grids.append(grid)

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int) -> Sample:
        """Draw a sample; without augmentation its features are a view, not to be written to."""
        features = self.features[index]
        drawn = self.dataset.draw(index, len(features), self._grids[index])
        return drawn.sample(features[drawn.start : drawn.stop])


def size_bytes(dataset: DetectionDataset) -> int:
    """Estimate the memory that the features of a split take as float32, without reading them."""
    return 4 * dataset.store.dim * int(dataset.lengths.sum())
