# SPDX-License-Identifier: Apache-2.0
"""Order of the training videos: a function of seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler


class BatchSampler(Sampler[list[int]]):
    """Batches of indices for one process, all videos once per epoch.

    Args:
        lengths: length of every video, in grid steps.
        batch_size: videos per batch; the last batch may be smaller.
        seed: with the epoch it decides the order.
        bucket_by_length: sort stretches of the shuffled order by length before cutting them into batches.
        rank: number of this process.
        world_size: number of processes; each gets as many batches as the others, so a few may come twice.
    """

    STRETCH = 16  # batches that are sorted together

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        *,
        seed: int,
        bucket_by_length: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.bucket_by_length = bucket_by_length
        self.rank, self.world_size = rank, world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order; call it before iterating."""
        self.epoch = epoch

    def __len__(self) -> int:
        batches = -(-len(self.lengths) // self.batch_size)
        return -(-batches // self.world_size)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.lengths))
        if self.bucket_by_length:
            stretch = self.STRETCH * self.batch_size
            for start in range(0, len(order), stretch):
                part = order[start : start + stretch]
                order[start : start + stretch] = part[np.argsort(self.lengths[part], kind="stable")]
        batches = [order[i : i + self.batch_size].tolist() for i in range(0, len(order), self.batch_size)]
        if self.bucket_by_length:
            batches = [batches[i] for i in rng.permutation(len(batches))]
        for index in range(len(self)):
            yield batches[(index * self.world_size + self.rank) % len(batches)]
