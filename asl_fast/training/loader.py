# SPDX-License-Identifier: Apache-2.0
"""Batches for training and inference; the order of the training videos is a function of seed and epoch alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from asl_fast.data.collate import Batch, collate
from asl_fast.data.dataset import DetectionDataset, Sample
from asl_fast.data.resident import ResidentFeatures, size_bytes
from asl_fast.training.config import DataConfig


class BatchSampler(Sampler[list[int]]):
    """Batches of indices for one process, all videos once per epoch.

    The processes split every batch: N of them with b videos each take those that one process takes with N b.

    Args:
        lengths: Length of every video, in grid steps.
        batch_size: Videos per batch and process; the last batch may be smaller.
        seed: Decides the order, together with the epoch.
        bucket_by_length: Sort stretches of the shuffled order by length before cutting them into batches.
        rank: Number of this process.
        world_size: Number of processes.
    """

    STRETCH = 16
    """Batches whose videos are sorted together."""

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
        """Choose the order; call it before iterating."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.lengths) // (self.batch_size * self.world_size))

    def batches(self) -> list[list[int]]:
        """Return the batches of the epoch, of all processes together."""
        size = self.batch_size * self.world_size
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.lengths))
        if self.bucket_by_length:
            stretch = self.STRETCH * size
            for start in range(0, len(order), stretch):
                part = order[start : start + stretch]
                order[start : start + stretch] = part[np.argsort(self.lengths[part], kind="stable")]
        batches = [order[i : i + size].tolist() for i in range(0, len(order), size)]
        if self.bucket_by_length:
            batches = [batches[i] for i in rng.permutation(len(batches))]
        return batches

    def has_share(self, batch: list[int]) -> bool:
        """Say whether this process has a video of a batch of `batches`; the last one may have too few for all."""
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
        config: Padding, bucketing, workers.
        batch_size: Videos per batch.
        seed: Seed of the order.
        length_multiple: The detector takes sequences whose length is a multiple of this many grid steps.
        rank: Number of this process.
        world_size: Number of processes.
        device: Where training computes; the features lie there if ``config.resident`` says so.

    Attributes:
        resident: The features on the device; None where batches come from the CPU.

    Raises:
        ValueError: When the features have to lie on the device and do not fit.
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
        if device is not None and makes_resident(config.resident, partial(size_bytes, dataset), device):
            self.resident = ResidentFeatures(dataset, device)
        lengths = [0] * len(dataset)
        if config.bucket_by_length:
            lengths = [min(dataset.store.length(video.id), config.max_length) for video in dataset.videos]
        self.sampler = BatchSampler(
            lengths,
            batch_size,
            seed=seed,
            bucket_by_length=config.bucket_by_length,
            rank=rank,
            world_size=world_size,
        )
        multiple = config.pad_multiple or length_multiple
        self._collate = partial(
            collate,
            pad_multiple=-(-multiple // length_multiple) * length_multiple,
            max_length=None if config.pad_multiple else config.max_length,
        )
        # With features on the device it is never asked.
        workers = config.num_workers if self.resident is None else 0
        self._loader: DataLoader[Sample] = DataLoader(
            dataset,
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

        Where the last batch has fewer videos than there are processes, those without one get a batch without content.
        """
        self.dataset.set_epoch(epoch)
        self.sampler.set_epoch(epoch)
        for everywhere, batch in zip(self.sampler.batches(), self._batches(), strict=True):
            yield batch if self.sampler.has_share(everywhere) else batch.without_content()

    def _batches(self) -> Iterator[Batch]:
        if self.resident is None:
            yield from self._loader
        else:
            for indices in self.sampler:
                yield self._collate([self.resident[index] for index in indices])


SHARE_OF_FREE = 0.5
"""Share of the free memory of a GPU that features may take: the rest is for weights and activations."""


def makes_resident(option: str, size: Callable[[], int], device: torch.device) -> bool:
    """Say whether the features of the training split are to lie on the device that trains.

    Args:
        option: "auto", "on" or "off" of the configuration. "auto" does where it spares copies to a GPU.
        size: Gives that of the features, in bytes; a store may have to open its files for it.
        device: Where training computes.

    Raises:
        ValueError: When they have to and do not fit.
    """
    if option == "off" or device.type != "cuda":
        return option == "on"
    (free, _), needed = torch.cuda.mem_get_info(device), size()
    fits = needed <= SHARE_OF_FREE * free
    if option == "on" and not fits:
        raise ValueError(
            f"data.resident is on, but the features take {needed / 1e9:.1f} GB, more than {SHARE_OF_FREE:.0%} of the "
            f"{free / 1e9:.1f} GB free on {device}; set it to auto or off"
        )
    return fits


def inference_batches(
    dataset: DetectionDataset, batch_size: int, *, length_multiple: int, rank: int = 0, world_size: int = 1
) -> Iterator[Batch]:
    """Iterate over all videos at full length, those of similar length together; every process gets its share.

    Args:
        dataset: The split.
        batch_size: Videos per batch.
        length_multiple: The detector takes sequences whose length is a multiple of this many grid steps.
        rank: Number of this process.
        world_size: Number of processes.
    """
    lengths = [dataset.store.length(video.id) for video in dataset.videos]
    order = sorted(range(len(dataset)), key=lambda index: lengths[index])[rank::world_size]
    for start in range(0, len(order), batch_size):
        samples = [dataset[index] for index in order[start : start + batch_size]]
        yield collate(samples, pad_multiple=length_multiple)
