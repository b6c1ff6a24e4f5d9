# SPDX-License-Identifier: Apache-2.0
"""Which videos come together, and in which order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asl_fast import environment
from asl_fast.data.annotations.video import Video
from asl_fast.data.augment import SensorAugmentation
from asl_fast.data.dataset import DetectionDataset
from asl_fast.data.features.packed_store import DATA, PackedFeatureStore
from asl_fast.data.features.packing import pack_features
from asl_fast.data.features.rows import Rows
from asl_fast.data.features.store import InMemoryFeatureStore
from asl_fast.data.grid import FeatureGrid
from asl_fast.data.resident import size_bytes
from asl_fast.data.transform import FeatureTransform
from asl_fast.models import windows
from asl_fast.models.config import InferenceConfig
from asl_fast.models.detector import ActionDetector
from asl_fast.training import caching
from asl_fast.training.caching import where_to_keep
from asl_fast.training.config import Cache
from asl_fast.training.loader import BatchSampler, TrainLoader
from asl_fast.training.scoring import predict
from asl_fast.training.split_candidates import plan
from tests.training.tiny import CPU, DIM, tiny_bundle, tiny_config

LONG = {"long": np.random.default_rng(1).standard_normal((600, DIM)).astype(np.float32)}


def lengths(different: int, count: int) -> Callable[[int], np.ndarray]:
    """Lengths that differ from video to video and from epoch to epoch."""
    return lambda epoch: 1 + 7 * (np.arange(count) + epoch) % different


@settings(deadline=None)
@given(
    count=st.integers(1, 50),
    batch_size=st.integers(1, 7),
    seed=st.integers(0, 5),
    epoch=st.integers(0, 5),
    bucket=st.booleans(),
)
def test_every_video_once_per_epoch(count: int, batch_size: int, seed: int, epoch: int, bucket: bool) -> None:
    sampler = BatchSampler(count, batch_size, seed=seed, lengths=lengths(7, count) if bucket else None)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert sorted(index for batch in batches for index in batch) == list(range(count))
    assert len(batches) == len(sampler)
    assert sum(len(batch) < batch_size for batch in batches) <= 1
    assert batches == list(sampler)


@settings(deadline=None)
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
        given = lengths(11, count) if bucket else None
        made = BatchSampler(count, size, seed=0, lengths=given, rank=rank, world_size=processes)
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
        sampler = BatchSampler(20, 2, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


def test_buckets_put_like_lengths_together() -> None:
    lengths = np.array([10, 1000] * 32)
    mixed = list(BatchSampler(64, 2, seed=0))
    bucketed = list(BatchSampler(64, 2, seed=0, lengths=lambda epoch: lengths))

    def padding(batches: list[list[int]]) -> int:
        return sum(max(lengths[i] for i in batch) - lengths[j] for batch in batches for j in batch)

    assert padding(mixed) > 0
    assert padding(bucketed) == 0
    assert {len(batch) for batch in bucketed} == {2}
    # The order of the batches is left to chance as well.
    assert len({tuple(lengths[batch]) for batch in bucketed[:8]}) == 2


def test_any_video_of_like_length_may_come_beside_another() -> None:
    # No two of 40 videos have one length: buckets of 8 lengths keep pairs from being the same in every epoch.
    sampler, met = BatchSampler(40, 2, seed=0, lengths=lambda epoch: np.arange(1, 41)), np.zeros((40, 40))
    for epoch in range(100):
        sampler.set_epoch(epoch)
        for one, two in sampler:
            met[one, two] += 1
            met[two, one] += 1
    assert ((met > 0).sum(1) == 7).all()
    assert met.max() < 30
    # All of one length are shuffled as they were without buckets, to the bit.
    alone, alike = BatchSampler(33, 2, seed=1), BatchSampler(33, 2, seed=1, lengths=lengths(1, 33))
    assert list(alone) == list(alike)


def test_the_batch_that_is_not_full_may_hold_videos_of_any_length() -> None:
    sampler, given, found = BatchSampler(65, 2, seed=0, lengths=lengths(8, 65)), lengths(8, 65), set()
    for epoch in range(60):
        sampler.set_epoch(epoch)
        found |= {given(epoch)[batch[0]] for batch in sampler if len(batch) == 1}
    assert found == set(range(1, 9))


def test_samples_have_the_lengths_that_buckets_go_by() -> None:
    cropped = tiny_bundle(num_train=7).train.with_options(max_length=37)
    for split in (cropped, resized_split(), sensor_split(), tiny_bundle().test):
        for epoch in range(3):
            split.set_epoch(epoch)
            assert [len(split[index].features) for index in range(len(split))] == split.sample_lengths(epoch).tolist()


def test_batches_of_one_length_alone_keep_the_order_without_buckets() -> None:
    split = tiny_bundle(num_train=40).train.with_options(max_length=48, crop_ratio=(0.2, 1.0))
    config = replace(tiny_config().data, pad_multiple=0)
    orders = []
    for bucket in (False, True):
        loader = TrainLoader(split, replace(config, bucket_by_length=bucket), 2, seed=0)
        orders.append([batch.video_ids for batch in loader.epoch(0)])
    assert orders[0] == orders[1]
    bucketed = TrainLoader(split, replace(config, pad_multiple=8), 2, seed=0)
    assert [batch.video_ids for batch in bucketed.epoch(0)] != orders[0]


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
    data = replace(tiny_config().data, pad_multiple=8)

    def loader() -> TrainLoader:
        return TrainLoader(tiny_bundle(21).train.with_options(crop_ratio=(0.3, 1.0)), data, 2, seed=3)

    fresh, used = loader(), loader()
    for earlier in range(epoch):
        assert sum(len(batch) for batch in used.epoch(earlier)) == 21
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

    resize = 30

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
        for options in ({"cache": "off"}, {"cache": "device", "num_workers": 7})
    )
    assert from_files.resident is None and resident.resident is not None
    for epoch in range(3):
        for one, two in zip(from_files.epoch(epoch), resident.epoch(epoch), strict=True):
            for name in vars(one):
                left, right = getattr(one, name), getattr(two, name)
                assert torch.equal(left, right) if isinstance(left, torch.Tensor) else left == right, name
    assert resident._loader._iterator is None and resident._loader.num_workers == 0


ON_A_GPU = [pytest.param("cuda:0", marks=pytest.mark.gpu)] if torch.cuda.is_available() else []


@pytest.mark.parametrize("place", ["meta", *ON_A_GPU])
def test_crops_and_padding_are_made_where_the_features_lie(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On "meta" there are no values, so whatever looked at one, or brought features from elsewhere, would raise."""
    device, config = torch.device(place), replace(tiny_config().data, cache="auto")
    if place == "meta":
        monkeypatch.setattr(caching, "free_memory_of", lambda where: 10**9)
    from_files, resident = (
        TrainLoader(tiny_bundle(num_train=7).train, replace(config, cache=cache), 2, seed=1, device=device)
        for cache in ("off", "auto")
    )
    assert resident.resident is not None and {x.device for x in resident.resident.features} == {device}
    for epoch in range(2):
        for one, two in zip(from_files.epoch(epoch), resident.epoch(epoch), strict=True):
            assert two.features.device == device and two.features.shape == one.features.shape
            assert place == "meta" or torch.equal(two.features.cpu(), one.features)
            for name in ("mask", "segments", "labels", "video_offsets"):
                assert torch.equal(getattr(one, name), getattr(two, name)), name


def test_workers_share_features_that_lie_in_memory(tmp_path: Path) -> None:
    split = tiny_bundle(num_train=7).train
    pack_features(split.store, [video.id for video in split.videos], tmp_path / "packed")
    stored = DetectionDataset(split.videos, PackedFeatureStore(tmp_path / "packed"), split.layout, training=True)
    config, gpu = replace(tiny_config().data, num_workers=1), torch.device("cuda", 0)
    # A GPU is not touched by a loader whose features lie elsewhere.
    from_files, kept = (
        TrainLoader(stored, replace(config, cache=cache), 2, seed=1, device=gpu) for cache in ("off", "memory")
    )
    assert from_files.resident is None
    assert kept.resident is not None and kept.resident.device.type == "cpu" and kept._loader.num_workers == 1
    (tmp_path / "packed" / DATA).write_bytes(b"")
    with pytest.raises(ValueError, match="cannot be read"):
        next(from_files.epoch(0))
    expected = TrainLoader(split, config, 2, seed=1)
    for epoch in range(2):
        for one, two in zip(expected.epoch(epoch), kept.epoch(epoch), strict=True):
            assert torch.equal(one.features, two.features) and one.video_ids == two.video_ids


def test_a_training_step_cannot_change_what_lies_on_the_device() -> None:
    split = tiny_bundle().train
    loader = TrainLoader(split, replace(tiny_config().data, cache="device"), 2, seed=0, device=torch.device("cpu"))
    before = [batch.features.clone() for batch in loader.epoch(0)]
    for batch in loader.epoch(0):
        batch.features.zero_()
    assert all(torch.equal(x, batch.features) for x, batch in zip(before, loader.epoch(0), strict=True))


def test_where_features_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**9, 2 * 10**9))
    monkeypatch.setattr(environment, "free_memory_bytes", lambda: 4 * 10**9)
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)

    def found(option: Cache, megabytes: int, device: torch.device, **how: bool) -> torch.device | None:
        return where_to_keep(option, lambda: megabytes * 10**6, device, **how)

    options: tuple[Cache, ...] = ("auto", "device", "memory", "off")
    assert [found(option, 1, cpu) for option in options] == [cpu, cpu, cpu, None]
    assert [found(option, 1, gpu) for option in options] == [gpu, gpu, cpu, None]
    assert [found("auto", size, gpu) for size in (500, 501, 2000, 2001)] == [gpu, cpu, cpu, None]
    # What is in memory is not put there twice unless somebody asks for it.
    held = [found("auto", size, device, in_memory=True) for device in (cpu, gpu) for size in (1, 501)]
    assert held == [None, None, gpu, None]
    assert found("memory", 1, cpu, in_memory=True) == cpu
    with pytest.raises(
        ValueError, match=r"is device, .* 0\.6 GB, more than 50% of the 1\.0 GB free on cuda:0; set it to"
    ):
        found("device", 600, gpu)
    with pytest.raises(
        ValueError, match=r"is memory, .* 2\.1 GB, more than 50% of the 4\.0 GB free of memory; set it to"
    ):
        found("memory", 2100, gpu)
    # The processes of one machine share its half.
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert [found("auto", size, cpu) for size in (500, 501)] == [cpu, None]
    # Where the system does not say what is free, only what was asked for is kept.
    monkeypatch.setattr(environment, "free_memory_bytes", lambda: None)
    assert [found(option, 1, cpu) for option in options] == [None, cpu, cpu, None]
    split = tiny_bundle().train
    assert size_bytes(split) == sum(split.store.load(video.id).nbytes for video in split.videos)


@pytest.mark.parametrize("world_size", [1, 2])
def test_inference_sees_every_video_once(world_size: int) -> None:
    bundle = tiny_bundle(num_test=5)
    detector = ActionDetector(tiny_config().model).eval()
    batches = [
        batch
        for rank in range(world_size)
        for batch in plan(detector, bundle.test, 2, rank=rank, world_size=world_size)
    ]
    assert sorted(index for batch in batches for index in batch) == list(range(5))
    assert max(map(len, batches)) == 2


def test_a_long_video_is_scored_window_by_window(monkeypatch: pytest.MonkeyPatch) -> None:
    test = tiny_bundle(num_test=5).test
    store = InMemoryFeatureStore({video.id: test.store.load(video.id) for video in test.videos[:-1]} | LONG)
    videos = [*test.videos[:-1], replace(test.videos[-1], id="long", duration_sec=600.0)]
    split, seen = DetectionDataset(videos, store, test.layout), list[int]()
    torch.manual_seed(0)
    detector = ActionDetector(tiny_config().model)

    def found() -> dict[str, np.ndarray]:
        inference = InferenceConfig(score_threshold=0.0)
        return predict(detector, split, inference, batch_size=2, autocast=False, processes=CPU)

    at_once = found()
    assert [len(batch) for batch in plan(detector, split, 2)] == [2, 2, 1]
    monkeypatch.setattr(windows, "CORE_GRID", 64)
    assert plan(detector, split, 2)[-1] == [4]
    opened = DetectionDataset.rows

    def watched(self: DetectionDataset, index: int) -> tuple[Rows, FeatureGrid]:
        rows, grid = opened(self, index)
        return Rows(rows.num_steps, lambda a, b: seen.append(b - a) or rows.read(a, b)), grid  # type: ignore[func-returns-value]

    monkeypatch.setattr(DetectionDataset, "rows", watched)
    in_windows = found()
    assert max(seen) < 150
    np.testing.assert_array_equal(in_windows["video"], at_once["video"])
    for name in ("segments", "scores"):
        np.testing.assert_allclose(np.sort(in_windows[name], 0), np.sort(at_once[name], 0), rtol=1e-4, atol=1e-5)
