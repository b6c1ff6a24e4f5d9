# SPDX-License-Identifier: Apache-2.0
"""The twin as a data set: names, scales, what it says about itself, and what training gets from it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from asl_fast.data.collate import collate
from asl_fast.data.synthetic.profiles import PROFILES, THUMOS14
from asl_fast.data.synthetic.twin import SCALES, make_twin, planted_sensitivities, twin_size

# Classes, split names, width, stride and window as in the benchmarks.
TABLE = {
    "thumos14": (20, "validation", "test", 2048, 4, 16, 200, 213),
    "multithumos": (65, "training", "testing", 1024, 4, 16, 200, 213),
    "charades": (157, "training", "testing", 1024, 8, 16, 7985, 1863),
    "ego4d-mq": (110, "train", "val", 4096, 16, 32, 1486, 521),
    "epic100-verb": (97, "train", "validation", 2304, 16, 32, 495, 138),
    "epic100-noun": (300, "train", "validation", 2304, 16, 32, 495, 138),
    "activitynet13": (200, "training", "validation", 512, 16, 16, 9649, 4728),
}


def test_every_benchmark_has_a_twin() -> None:
    assert set(TABLE) == set(PROFILES)


@pytest.mark.parametrize("name", list(TABLE))
def test_full_size_is_the_benchmarks(name: str) -> None:
    classes, train, test, dim, stride, window, num_train, num_test = TABLE[name]
    size = twin_size(PROFILES[name], 1.0)
    assert size == twin_size(PROFILES[name], "full") == PROFILES[name].full
    assert (size.train_videos, size.test_videos, size.feature_dim) == (num_train, num_test, dim)
    # A number keeps the width and length of the benchmark's videos, so a small share shows them.
    bundle = make_twin(name, scale=1e-4)
    assert (bundle.num_classes, bundle.feature_dim) == (classes, dim)
    assert (bundle.train.videos[0].subset, bundle.test.videos[0].subset) == (train, test)
    assert len(set(bundle.class_names)) == classes
    manifest = bundle.train.layout
    assert (manifest.stride_frame, manifest.window_frame) == (stride, window)  # type: ignore[union-attr]
    assert bundle.test[0].features.shape[1] == dim


@pytest.mark.parametrize("scale", ["smoke", "reduced"])
@pytest.mark.parametrize("name", list(TABLE))
def test_small_scales_keep_classes_and_splits(name: str, scale: str) -> None:
    bundle = make_twin(name, scale=scale)
    full = PROFILES[name].full
    assert bundle.num_classes == TABLE[name][0] and bundle.feature_dim < full.feature_dim
    assert len(bundle.train) < full.train_videos and len(bundle.test) < full.test_videos
    sample = bundle.train[0]
    assert sample.features.shape[1] == bundle.feature_dim and sample.features.dtype == torch.float32
    assert torch.isfinite(sample.features).all() and len(sample.segments) == len(sample.labels)


def test_segments_land_on_their_evidence_after_crops_and_resizing() -> None:
    bundle = make_twin("activitynet13", scale="smoke")
    sample = bundle.test[0]
    assert sample.features.shape == (192, 128)
    assert sample.grid.to_sec(-0.5) == pytest.approx(0.0, abs=1e-6)
    seconds = sample.grid.to_sec(sample.segments.double())
    np.testing.assert_allclose(seconds.numpy(), bundle.test.videos[0].segments_sec, atol=1e-4)


def test_a_batch_reaches_training_whole() -> None:
    bundle = make_twin("multithumos", scale="smoke")
    loader = DataLoader(bundle.train, batch_size=2, collate_fn=collate)
    batch = next(iter(loader))
    assert batch.features.shape[0] == 2 and batch.features.shape[2] == 128 and len(batch.labels) > 4
    torch.testing.assert_close(batch.features[0][batch.mask[0]], bundle.train[0].features)


def test_the_description_says_what_it_is_and_where_to_go() -> None:
    for scale in (*SCALES, 0.01):
        text = make_twin("thumos14", scale=scale).description
        assert text.startswith("SYNTHETIC twin of THUMOS14") and "\n" not in text and "not real data" in text
        assert "--data-root" in text and "--synthetic-scale 1.0" in text and "200 and 213 videos" in text
    assert "10 of them occur" in make_twin("thumos14", scale="smoke").description


def test_planted_values_survive_json() -> None:
    bundle = make_twin("multithumos", scale="smoke", seed=5)
    planted = planted_sensitivities(bundle)
    assert bundle.synthetic and planted["mu"].shape == planted["sigma"].shape == (65, 3)
    metadata = json.loads(json.dumps(dict(bundle.metadata)))
    np.testing.assert_array_equal(metadata["planted"]["mu"], planted["mu"])
    assert metadata["synthetic_scale"] == "smoke" and metadata["synthetic_seed"] == 5
    assert metadata["planted"]["columns"] == ["class", "start", "end"]


@pytest.mark.parametrize("name", list(TABLE))
def test_the_smallest_share_still_is_a_data_set(name: str) -> None:
    bundle = make_twin(name, scale=1e-9, feature_dim=4)
    assert (len(bundle.train), len(bundle.test)) == (2, 1)
    assert bundle.test[0].features.shape[1] == 4


def test_numbers_are_shares_of_the_videos_and_may_exceed_one() -> None:
    assert twin_size(THUMOS14, 0.5).train_videos == 100 and twin_size(THUMOS14, "0.5").test_videos == 106
    assert twin_size(THUMOS14, 1.0) == twin_size(THUMOS14, "full") == THUMOS14.full
    assert twin_size(THUMOS14, 3).train_videos == 600


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), "nan"])
def test_a_scale_that_is_no_size_is_refused(scale: float | str) -> None:
    with pytest.raises(ValueError, match="positive number"):
        make_twin("thumos14", scale=scale)


def test_near_misses_are_named() -> None:
    with pytest.raises(ValueError, match="did you mean 'multithumos'"):
        make_twin("mutlithumos")
    with pytest.raises(ValueError, match="no synthetic twin of 'hapt'"):
        make_twin("hapt")
    with pytest.raises(ValueError, match="did you mean 'reduced'"):
        make_twin("thumos14", scale="reduce")
    with pytest.raises(ValueError, match="seed"):
        make_twin("thumos14", seed=-1)
    with pytest.raises(ValueError, match="feature_dim"):
        make_twin("thumos14", feature_dim=0)


def test_nothing_is_planted_in_other_data_sets() -> None:
    bundle = make_twin("thumos14", scale="smoke")
    object.__setattr__(bundle, "metadata", {})
    with pytest.raises(ValueError, match="not a synthetic twin"):
        planted_sensitivities(bundle)
