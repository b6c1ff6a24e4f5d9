# SPDX-License-Identifier: Apache-2.0
"""Batches for training and inference."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch.utils.data import DataLoader

from asl_fast.data.collate import Batch, collate
from asl_fast.data.dataset import DetectionDataset, Sample
from asl_fast.training.config import DataConfig
from asl_fast.training.sampler import BatchSampler


class TrainLoader:
    """Iterates over the batches of an epoch; order and crops depend on seed and epoch alone.

    Args:
        dataset: training split.
        config: padding, bucketing, workers.
        batch_size: videos per batch.
        seed: of the order.
        length_multiple: the model's own multiple of the length.
        rank: number of this process.
        world_size: number of processes.
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
    ) -> None:
        self.dataset = dataset
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
        self._loader: DataLoader[Sample] = DataLoader(
            dataset,
            batch_sampler=self.sampler,
            collate_fn=partial(
                collate,
                pad_multiple=-(-multiple // length_multiple) * length_multiple,
                max_length=None if config.pad_multiple else config.max_length,
            ),
            num_workers=config.num_workers,
            persistent_workers=config.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            # Its own generator: otherwise every epoch would draw from torch's global one.
            generator=torch.Generator().manual_seed(seed),
        )

    def __len__(self) -> int:
        """Batches of an epoch."""
        return len(self.sampler)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch, on the CPU."""
        self.dataset.set_epoch(epoch)
        self.sampler.set_epoch(epoch)
        yield from self._loader


def inference_batches(
    dataset: DetectionDataset, batch_size: int, *, length_multiple: int, rank: int = 0, world_size: int = 1
) -> Iterator[Batch]:
    """All videos at full length, those of similar length together; every process gets its share."""
    lengths = [dataset.store.length(video.id) for video in dataset.videos]
    order = sorted(range(len(dataset)), key=lambda index: lengths[index])[rank::world_size]
    for start in range(0, len(order), batch_size):
        samples = [dataset[index] for index in order[start : start + batch_size]]
        yield collate(samples, pad_multiple=length_multiple)
