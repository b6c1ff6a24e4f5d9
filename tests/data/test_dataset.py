# SPDX-License-Identifier: Apache-2.0
"""Samples: full length in evaluation, reproducible crops in training."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from asl_fast.data.collate import collate
from asl_fast.data.dataset import DetectionDataset, Sample
from asl_fast.data.features.store import InMemoryFeatureStore
from tests.data.helpers import GRID, dataset, ramp, video


def same(a: Sample, b: Sample) -> bool:
    return (
        a.video_id == b.video_id
        and a.grid == b.grid
        and torch.equal(a.features, b.features)
        and torch.equal(a.segments, b.segments)
        and torch.equal(a.labels, b.labels)
    )


def test_evaluation_sample_is_the_whole_video() -> None:
    sample = dataset(training=False)[1]
    assert sample.video_id == "v1" and sample.duration_sec == 50.0 and sample.grid == GRID
    assert sample.features.shape == (100, 3) and sample.features.dtype == torch.float32
    # (t * 10 - 2.5) / 5
    torch.testing.assert_close(sample.segments, torch.tensor([[1.5, 7.5], [19.5, 39.5]]), rtol=0, atol=0)
    assert sample.segments.dtype == torch.float32
    assert sample.labels.tolist() == [0, 1] and sample.labels.dtype == torch.int64


def test_crop_agrees_with_its_grid() -> None:
    data = dataset(max_length=60, crop_ratio=None)
    starts = set()
    for epoch in range(8):
        data.set_epoch(epoch)
        sample = data[0]
        start = int(sample.features[0, 0])
        starts.add(start)
        assert len(sample.features) == 60
        assert sample.grid == (GRID.shifted(start) if start else GRID)
        # A segment that lies inside is the annotated one in seconds.
        seconds = sample.grid.to_sec(sample.segments)
        for (begin, end), label in zip(seconds.tolist(), sample.labels.tolist(), strict=True):
            true = [(1.0, 4.0), (10.0, 20.0)][label]
            cut_left, cut_right = sample.grid.to_sec(-0.5), sample.grid.to_sec(60.5)
            assert begin == pytest.approx(max(true[0], cut_left), abs=1e-4)
            assert end == pytest.approx(min(true[1], cut_right), abs=1e-4)
    assert len(starts) > 4


def test_crops_depend_on_seed_epoch_and_index_alone() -> None:
    first, second = dataset(max_length=60), dataset(max_length=60)
    first.set_epoch(3)
    second.set_epoch(3)
    forwards = [first[index] for index in (0, 1, 2, 3)]
    backwards = [second[index] for index in (3, 2, 1, 0)][::-1]
    assert all(same(a, b) for a, b in zip(forwards, backwards, strict=True))
    second.set_epoch(4)
    assert not all(same(first[index], second[index]) for index in range(4))
    other = first.with_options(seed=1)
    other.set_epoch(3)
    assert not all(same(first[index], other[index]) for index in range(4))


def test_epoch_reaches_workers_that_live_on() -> None:
    data = dataset(max_length=60)
    loader = DataLoader(data, batch_size=None, num_workers=1, persistent_workers=True)
    for epoch in (0, 5):
        data.set_epoch(epoch)
        assert all(same(found, data[index]) for index, found in enumerate(loader))


def test_survives_pickling() -> None:
    data = dataset(max_length=60)
    data.set_epoch(2)
    assert same(pickle.loads(pickle.dumps(data))[1], data[1])


def test_batches_through_a_loader() -> None:
    loader = DataLoader(dataset(max_length=60), batch_size=3, collate_fn=collate)
    assert [len(batch) for batch in loader] == [3, 1]


def test_bad_segments_are_no_targets_but_stay_for_scoring() -> None:
    raw = [[1.0, 4.0], [-2.0, 3.0], [40.0, 60.0], [9.0, 9.0], [8.0, 7.0], [55.0, 60.0]]
    data = DetectionDataset([video(segments=raw)], InMemoryFeatureStore({"a": ramp()}), GRID)
    assert data[0].labels.tolist() == [0, 1, 2]
    assert data[0].segments[1, 0].item() == GRID.to_grid(0.0)
    assert data[0].segments[2, 1].item() == GRID.to_grid(50.0)
    assert (data.num_clipped, data.num_dropped) == (2, 3)
    np.testing.assert_array_equal(data.videos[0].segments_sec, raw)


@pytest.mark.parametrize("training", [True, False])
def test_video_without_action(training: bool) -> None:
    data = DetectionDataset([video(segments=[])], InMemoryFeatureStore({"a": ramp()}), GRID, training=training)
    assert data[0].segments.shape == (0, 2) and data[0].labels.shape == (0,)
    assert collate([data[0]]).video_offsets.tolist() == [0, 0]


def test_training_cannot_change_the_store() -> None:
    data = dataset(training=False)
    data[0].features.zero_()
    assert data[0].features[1, 0] == 1


def test_no_video_left() -> None:
    with pytest.raises(ValueError, match="no video left"):
        DetectionDataset([], InMemoryFeatureStore({"a": ramp()}), GRID)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_length", 0),
        ("crop_ratio", (0.0, 1.0)),
        ("crop_ratio", (0.9, 0.5)),
        ("truncation_threshold", 1.5),
        ("seed", -1),
    ],
)
def test_options_out_of_range(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=option):
        dataset(**{option: value})


def test_index_out_of_range_ends_iteration() -> None:
    data = dataset(training=False)
    assert len(list(data)) == 4
    assert data[-1].video_id == "v3"
    with pytest.raises(IndexError):
        data[-5]


def test_unknown_option_of_with_options() -> None:
    with pytest.raises(TypeError):
        dataset().with_options(max_lenght=3)
