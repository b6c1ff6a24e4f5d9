# SPDX-License-Identifier: Apache-2.0
"""Which videos come together, and in which order."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asl_fast.training.loader import BatchSampler, TrainLoader, inference_batches
from tests.training.tiny import tiny_bundle, tiny_config


@given(
    count=st.integers(1, 50),
    batch_size=st.integers(1, 7),
    seed=st.integers(0, 5),
    epoch=st.integers(0, 5),
    bucket=st.booleans(),
)
def test_every_video_once_per_epoch(count: int, batch_size: int, seed: int, epoch: int, bucket: bool) -> None:
    sampler = BatchSampler(range(count), batch_size, seed=seed, bucket_by_length=bucket)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert sorted(index for batch in batches for index in batch) == list(range(count))
    assert len(batches) == len(sampler)
    assert sum(len(batch) < batch_size for batch in batches) <= 1
    assert batches == list(sampler)


@given(count=st.integers(1, 40), batch_size=st.integers(1, 4), world_size=st.integers(1, 4))
def test_processes_share_the_epoch(count: int, batch_size: int, world_size: int) -> None:
    parts = [
        list(BatchSampler([1] * count, batch_size, seed=0, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    assert len({len(part) for part in parts}) == 1
    seen = Counter(index for part in parts for batch in part for index in batch)
    assert set(seen) == set(range(count))
    # No more comes twice than is needed to give every process as many batches as the others.
    assert sum(seen.values()) - count < batch_size * world_size


def test_order_depends_on_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        sampler = BatchSampler([1] * 20, 2, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


def test_buckets_put_like_lengths_together() -> None:
    lengths = [10, 1000] * 32
    mixed = list(BatchSampler(lengths, 2, seed=0))
    bucketed = list(BatchSampler(lengths, 2, seed=0, bucket_by_length=True))

    def padding(batches: list[list[int]]) -> int:
        return sum(max(lengths[i] for i in batch) - lengths[j] for batch in batches for j in batch)

    assert padding(mixed) > 0
    # Sorted stretches of 16 batches; at most one pair per stretch straddles the two lengths.
    assert padding(bucketed) <= 990 * 2
    assert len({len(batch) for batch in bucketed}) == 1


@pytest.mark.parametrize(("pad_multiple", "expected"), [(16, 48), (64, 64), (0, 48), (7, 40), (12, 48)])
def test_batches_are_padded_to_few_lengths(pad_multiple: int, expected: int) -> None:
    config = tiny_config()
    bundle = tiny_bundle()
    train = bundle.train.with_options(max_length=48, crop_ratio=None)
    multiple = 2
    loader = TrainLoader(train, replace(config.data, pad_multiple=pad_multiple), 4, seed=0, length_multiple=multiple)
    lengths = {batch.features.shape[1] for batch in loader.epoch(0)}
    assert lengths == {expected}
    assert all(length % multiple == 0 for length in lengths)


@settings(deadline=None, max_examples=3)
@given(st.integers(0, 3))
def test_an_epoch_is_the_same_whatever_came_before(epoch: int) -> None:
    config = tiny_config()

    def loader() -> TrainLoader:
        return TrainLoader(tiny_bundle().train, config.data, 2, seed=3)

    fresh, used = loader(), loader()
    for earlier in range(epoch):
        assert sum(len(batch) for batch in used.epoch(earlier)) == 6
    for one, two in zip(fresh.epoch(epoch), used.epoch(epoch), strict=True):
        assert one.video_ids == two.video_ids
        assert torch.equal(one.features, two.features)
        assert torch.equal(one.segments, two.segments)


def test_loading_leaves_the_global_generator_alone() -> None:
    loader = TrainLoader(tiny_bundle().train, tiny_config().data, 2, seed=0)
    before = torch.get_rng_state()
    assert len(list(loader.epoch(0))) == len(loader)
    assert torch.equal(before, torch.get_rng_state())


def test_worker_processes_give_the_same_batches() -> None:
    config = tiny_config()
    bundle = tiny_bundle()
    loaders = [TrainLoader(bundle.train, replace(config.data, num_workers=workers), 2, seed=0) for workers in (0, 1)]
    for epoch in range(2):
        for one, two in zip(loaders[0].epoch(epoch), loaders[1].epoch(epoch), strict=True):
            assert torch.equal(one.features, two.features)


@pytest.mark.parametrize("world_size", [1, 2])
def test_inference_sees_every_video_once(world_size: int) -> None:
    bundle = tiny_bundle(num_test=5)
    seen = [
        video
        for rank in range(world_size)
        for batch in inference_batches(bundle.test, 2, length_multiple=4, rank=rank, world_size=world_size)
        for video in batch.video_ids
    ]
    assert sorted(seen) == sorted(video.id for video in bundle.test.videos)
