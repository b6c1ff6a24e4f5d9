# SPDX-License-Identifier: Apache-2.0
"""Batches for training; the order of the training videos is a function of seed and epoch alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import multiprocessing
from torch.utils.data import DataLoader, Sampler

from asl_fast.data.collate import Batch, collate
from asl_fast.data.dataset import DetectionDataset, Sample
from asl_fast.data.resident import ResidentFeatures, size_bytes
from asl_fast.training.caching import where_to_keep
from asl_fast.training.config import DataConfig


class BatchSampler(Sampler[list[int]]):
    """Batches of indices for one process, all videos once per epoch.

    The processes split every batch: N of them with b videos each take those that one process takes with N b.

    Args:
        count: Number of videos.
        batch_size: Videos per batch and process; one batch may be smaller.
        seed: Decides the order, together with the epoch.
        lengths: Gives what the samples of an epoch are padded to, (count,) whole numbers in any unit. Batches are then
            filled from videos that are padded alike; None fills them from all.
        rank: Number of this process.
        world_size: Number of processes.
    """

    BATCHES_PER_BUCKET = 4
    """Batches that a bucket fills on average, at least: who meets whom in a batch stays a matter of chance."""

    def __init__(
        self,
        count: int,
        batch_size: int,
        *,
        seed: int,
        lengths: Callable[[int], NDArray[np.int64]] | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.count = count
        self.batch_size = batch_size
        self.seed = seed
        self.lengths = lengths
        self.rank, self.world_size = rank, world_size
        self.epoch = 0
        self._made: tuple[int, list[list[int]]] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Choose the order; call it before iterating."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.count // (self.batch_size * self.world_size))

    def batches(self) -> list[list[int]]:
        """Return the batches of the epoch, of all processes together."""
        if self._made is None or self._made[0] != self.epoch:
            self._made = self.epoch, self._make()
        return self._made[1]

    def _make(self) -> list[list[int]]:
        size = self.batch_size * self.world_size
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(self.count)
        ends = np.arange(1, len(self)) * size
        buckets = None if self.lengths is None else self._buckets(self.lengths(self.epoch))
        if buckets is None or (buckets == buckets[0]).all():
            return [batch.tolist() for batch in np.split(order, ends)]
        order = order[np.argsort(buckets[order], kind="stable")]
        # The batch that is not full is any of them, or it would always hold the longest videos.
        ends[rng.integers(len(self)) :] -= -self.count % size
        batches = np.split(order, ends)
        return [batches[i].tolist() for i in rng.permutation(len(batches))]

    def _buckets(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give every video the number of its bucket: that of one length, or of several where batches are few."""
        most = max(1, len(self) // self.BATCHES_PER_BUCKET)
        while len(np.unique(lengths)) > most:
            lengths = -(-lengths // 2)
        return lengths

    def has_share(self, batch: list[int]) -> bool:
        """Say whether this process has a video of a batch of `batches`; one of them may have too few for all."""
        return self.rank < len(batch)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.batches():
            # Every process takes part in every step, and one without a share needs a video to do so with.
            share = np.array_split(batch, self.world_size)[self.rank].tolist()
            yield share if self.has_share(batch) else batch[:1]


class TrainLoader:
    """Batches of the training split, epoch by epoch; order and crops depend on seed and epoch alone.

    Args:
        dataset: The training split.
        config: Padding, bucketing, workers, where features are kept.
        batch_size: Videos per batch.
        seed: Seed of the order.
        length_multiple: The detector takes sequences whose length is a multiple of this many grid steps.
        rank: Number of this process.
        world_size: Number of processes.
        device: Where training computes; None keeps no features.

    Attributes:
        padding: What `collate` is told about the length of batches.
        resident: The features, where they are kept; None where they are read when they are needed.

    Raises:
        ValueError: When the features have to be kept where they do not fit.
    """

    def __init__(
        self,
        dataset: DetectionDataset,
        config: DataConfig,
        batch_size: int,
        *,
        seed: int,
        length_multiple: int = 1,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | None = None,
    ) -> None:
        self.dataset = dataset
        self.resident: ResidentFeatures | None = None
        in_memory = getattr(dataset.store, "in_memory", False)
        place = device and where_to_keep(config.cache, partial(size_bytes, dataset), device, in_memory=in_memory)
        if place is not None:
            self.resident = ResidentFeatures(dataset, place)
        self._at_hand = place is not None and place == device
        multiple = -(-(config.pad_multiple or length_multiple) // length_multiple) * length_multiple
        self.sampler = BatchSampler(
            len(dataset),
            batch_size,
            seed=seed,
            # Where all batches have one length there is nothing to save.
            lengths=partial(_padded, dataset, multiple) if config.bucket_by_length and config.pad_multiple else None,
            rank=rank,
            world_size=world_size,
        )
        self.padding: dict[str, Any] = {
            "pad_multiple": multiple,
            "max_length": None if config.pad_multiple else config.max_length,
        }
        self._collate: Callable[[Sequence[Sample]], Batch] = partial(collate, **self.padding)
        # It is never asked where the features lie on the device. Workers share what lies in memory if they are forked.
        forked = (
            multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]
        ) == "fork"
        workers = 0 if self._at_hand or (self.resident is not None and not forked) else config.num_workers
        self._loader: DataLoader[Sample] = DataLoader(
            dataset if self.resident is None else self.resident,
            batch_sampler=self.sampler,
            collate_fn=self._collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            # Its own generator: otherwise every epoch would draw from torch's global one.
            generator=torch.Generator().manual_seed(seed),
        )

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return len(self.sampler)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Iterate over the batches of one epoch; features that lie on the device stay there, others come on the CPU.

        Where a batch has fewer videos than there are processes, those without one get a batch without content.
        """
        self.dataset.set_epoch(epoch)
        self.sampler.set_epoch(epoch)
        for everywhere, batch in zip(self.sampler.batches(), self._batches(), strict=True):
            yield batch if self.sampler.has_share(everywhere) else batch.without_content()

    def _batches(self) -> Iterator[Batch]:
        if self.resident is None or not self._at_hand:
            yield from self._loader
        else:
            for indices in self.sampler:
                yield self._collate([self.resident[index] for index in indices])


def _padded(dataset: DetectionDataset, multiple: int, epoch: int) -> NDArray[np.int64]:
    """Count the multiples that every sample of an epoch is padded to, (N,)."""
    return -(-dataset.sample_lengths(epoch) // multiple)
