# SPDX-License-Identifier: Apache-2.0
"""Which videos come together, and in which order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asl_fast.data.annotations.video import Video
from asl_fast.data.augment import SensorAugmentation
from asl_fast.data.dataset import DetectionDataset
from asl_fast.data.features.store import InMemoryFeatureStore
from asl_fast.data.grid import FeatureGrid
from asl_fast.data.resident import size_bytes
from asl_fast.data.transform import FeatureTransform
from asl_fast.training.loader import BatchSampler, TrainLoader, inference_batches, makes_resident
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


@given(
    count=st.integers(1, 40),
    batch_size=st.integers(1, 4),
    world_size=st.integers(1, 4),
    bucket=st.booleans(),
    epoch=st.integers(0, 3),
)
def test_processes_split_the_batches_of_one(
    count: int, batch_size: int, world_size: int, bucket: bool, epoch: int
) -> None:
    def sampler(size: int, rank: int = 0, processes: int = 1) -> BatchSampler:
        made = BatchSampler(
            [7 * i % 11 for i in range(count)], size, seed=0, bucket_by_length=bucket, rank=rank, world_size=processes
        )
        made.set_epoch(epoch)
        return made

    alone = list(sampler(batch_size * world_size))
    samplers = [sampler(batch_size, rank, world_size) for rank in range(world_size)]
    assert {len(each) for each in samplers} == {len(alone)}
    for everywhere, shares in zip(alone, zip(*samplers, strict=True), strict=True):
        taken = [share if each.has_share(everywhere) else [] for each, share in zip(samplers, shares, strict=True)]
        assert [index for share in taken for index in share] == everywhere
        assert max(map(len, taken)) - min(map(len, taken)) <= 1
        assert all(shares)


def test_a_process_without_a_share_gets_a_batch_without_content() -> None:
    def loader(rank: int) -> TrainLoader:
        return TrainLoader(tiny_bundle(num_train=5).train, tiny_config().data, 1, seed=0, rank=rank, world_size=4)

    first, last = list(loader(0).epoch(0)), list(loader(3).epoch(0))
    assert len(first) == len(last) == 2
    assert first[1].mask.any()
    assert last[0].mask.any()
    assert not last[1].mask.any()
    assert not last[1].features.any()
    assert last[1].labels.numel() == last[1].segments.numel() == last[1].video_offsets.sum() == 0


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


def sensor_split() -> DetectionDataset:
    """Make recordings of two tri-axial sensors, two samples to a step, which are turned and stretched."""
    rng = np.random.default_rng(0)
    transform = FeatureTransform(np.arange(6.0), np.arange(1.0, 7.0), samples_per_step=2)
    signals = {f"v{i}": transform(rng.normal(size=(60 + 10 * i, 6))) for i in range(5)}
    videos = [Video(name, "train", len(x) / 25, np.array([[0.2, 0.9]]), np.array([1])) for name, x in signals.items()]
    grid = FeatureGrid(fps=50.0, stride_frame=2, window_frame=2)
    augment = SensorAugmentation(transform, 12.0, 0.2)
    store = InMemoryFeatureStore(signals)
    return DetectionDataset(videos, store, grid, training=True, max_length=40, augmentation=augment, seed=2)


class Resized:
    """A layout that resizes every video to 30 steps."""

    def prepare(self, video: Video, features: np.ndarray) -> tuple[np.ndarray, FeatureGrid]:
        rows = np.arange(30) * len(features) // 30
        return features[rows], FeatureGrid(fps=30 / video.duration_sec, stride_frame=1.0, window_frame=1.0)


def resized_split() -> DetectionDataset:
    train = tiny_bundle(num_train=5).train
    return DetectionDataset(train.videos, train.store, Resized(), training=True, max_length=20)


@pytest.mark.parametrize("bucket", [False, True])
@pytest.mark.parametrize("split", [lambda: tiny_bundle(num_train=7).train, sensor_split, resized_split])
def test_features_on_the_device_give_the_same_batches(split: Callable[[], DetectionDataset], bucket: bool) -> None:
    config = replace(tiny_config().data, bucket_by_length=bucket)
    cpu = torch.device("cpu")
    from_files, resident = (
        TrainLoader(split(), replace(config, **options), 2, seed=1, length_multiple=8, device=cpu)
        for options in ({"resident": "off"}, {"resident": "on", "num_workers": 7})
    )
    assert from_files.resident is None and resident.resident is not None
    for epoch in range(3):
        for one, two in zip(from_files.epoch(epoch), resident.epoch(epoch), strict=True):
            for name in vars(one):
                left, right = getattr(one, name), getattr(two, name)
                assert torch.equal(left, right) if isinstance(left, torch.Tensor) else left == right, name
    assert resident._loader._iterator is None and resident._loader.num_workers == 0


def test_a_training_step_cannot_change_what_lies_on_the_device() -> None:
    split = tiny_bundle().train
    loader = TrainLoader(split, replace(tiny_config().data, resident="on"), 2, seed=0, device=torch.device("cpu"))
    before = [batch.features.clone() for batch in loader.epoch(0)]
    for batch in loader.epoch(0):
        batch.features.zero_()
    assert all(torch.equal(x, batch.features) for x, batch in zip(before, loader.epoch(0), strict=True))


def test_where_features_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**9, 2 * 10**9))
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    assert [makes_resident(option, lambda: 10**6, cpu) for option in ("auto", "on", "off")] == [False, True, False]
    assert [makes_resident(option, lambda: 10**6, gpu) for option in ("auto", "on", "off")] == [True, True, False]
    assert not makes_resident("auto", lambda: 6 * 10**8, gpu)
    with pytest.raises(ValueError, match=r"take 0\.6 GB, more than 50% of the 1\.0 GB free on cuda:0; set it to auto"):
        makes_resident("on", lambda: 6 * 10**8, gpu)
    split = tiny_bundle().train
    assert size_bytes(split) == sum(split.store.load(video.id).nbytes for video in split.videos)


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
