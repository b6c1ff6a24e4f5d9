# SPDX-License-Identifier: Apache-2.0
"""Rotation and speed change keep what they must: lengths of vectors, places in time, and reproducibility."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asl_fast.data.annotations.video import Video
from asl_fast.data.augment import SensorAugmentation, rotation_matrix
from asl_fast.data.dataset import DetectionDataset
from asl_fast.data.features.store import InMemoryFeatureStore
from asl_fast.data.grid import FeatureGrid
from asl_fast.data.transform import FeatureTransform

TRANSFORM = FeatureTransform(np.arange(6.0), np.arange(1.0, 7.0), samples_per_step=4)
GRID = FeatureGrid(fps=50.0, stride_frame=4, window_frame=4)


def changed(
    augment: SensorAugmentation,
    features: np.ndarray,
    segments: np.ndarray,
    grid: FeatureGrid,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, FeatureGrid]:
    """Features, segments and grid of a changed copy of one sample."""
    change = augment.draw(segments, grid, len(features), generator)
    return augment.apply(torch.from_numpy(features), change).numpy(), change.segments, change.grid


def signal_of(features: np.ndarray) -> np.ndarray:
    return features.reshape(-1, 6) * TRANSFORM.std + TRANSFORM.mean


@given(st.lists(st.floats(-4, 4), min_size=3, max_size=3))
def test_rotation_matrix_is_a_rotation_about_its_vector(vector: list[float]) -> None:
    turn = rotation_matrix(np.array(vector))
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1.0)
    np.testing.assert_allclose(turn @ vector, vector, atol=1e-9)


def test_rotation_turns_all_sensors_alike_and_keeps_lengths() -> None:
    signal = np.random.default_rng(0).normal(size=(80, 6))
    signal[:, 3:] = signal[:, :3]
    augment = SensorAugmentation(TRANSFORM, rotation_sd_deg=30.0)
    segments = np.array([[1.0, 5.0]])
    features, same_segments, same_grid = changed(augment, TRANSFORM(signal), segments, GRID, np.random.default_rng(1))
    turned = signal_of(features)
    np.testing.assert_allclose(turned[:, :3], turned[:, 3:], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(turned[:, :3], axis=1), np.linalg.norm(signal[:, :3], axis=1), rtol=1e-5)
    assert np.abs(turned - signal).max() > 0.1
    assert same_grid == GRID
    assert np.array_equal(same_segments, segments)


@given(seed=st.integers(0, 500), start=st.integers(0, 30), speed=st.floats(0.05, 0.6))
def test_speed_change_moves_segments_with_the_signal(seed: int, start: int, speed: float) -> None:
    # The signal is its own clock: every channel counts raw samples.
    clock = np.repeat(np.arange(400.0)[:, None], 6, axis=1)
    features = TRANSFORM(clock)[start:]
    grid = GRID.shifted(start)
    seconds = np.array([[1.0, 2.5], [3.0, 6.0]])
    augment = SensorAugmentation(TRANSFORM, speed_range=speed)
    out, segments, stretched = changed(augment, features, grid.to_grid(seconds), grid, np.random.default_rng(seed))
    np.testing.assert_allclose(stretched.to_sec(segments), seconds, atol=1e-9)
    # Mean clock of a step = the time its index stands for, away from the ends.
    times = signal_of(out).reshape(len(out), -1).mean(1)
    expected = stretched.to_sec(np.arange(len(out), dtype=np.float64)) * 50.0 - 0.5
    np.testing.assert_allclose(times[2:-2], expected[2:-2], atol=1e-2)


def test_samples_depend_on_seed_epoch_and_index_alone() -> None:
    store = InMemoryFeatureStore({"a": TRANSFORM(np.random.default_rng(0).normal(size=(240, 6)))})
    video = Video("a", "train", 240 / 50, np.array([[1.0, 2.0]]), np.array([0]))
    augment = SensorAugmentation(TRANSFORM, 10.0, 0.2)
    first = DetectionDataset([video], store, GRID, training=True, augmentation=augment, seed=3)
    second = first.with_options()
    second.set_epoch(1)
    other = second[0]
    second.set_epoch(0)
    assert np.array_equal(first[0].features, second[0].features)
    assert not np.array_equal(first[0].features[:5], other.features[:5])
    plain = first.with_options(training=False)[0]
    assert np.array_equal(plain.features, store.load("a"))


def test_one_step_and_no_segment() -> None:
    augment = SensorAugmentation(TRANSFORM, 10.0, 0.5)
    one_step, nothing = np.ones((1, 24), np.float32), np.zeros((0, 2))
    features, segments, _ = changed(augment, one_step, nothing, GRID, np.random.default_rng(0))
    assert features.shape[1] == 24
    assert len(features) >= 1
    assert segments.shape == (0, 2)


def test_bad_amounts() -> None:
    with pytest.raises(ValueError, match="rotation_sd_deg"):
        SensorAugmentation(TRANSFORM, -1.0)
    with pytest.raises(ValueError, match="speed_range"):
        SensorAugmentation(TRANSFORM, speed_range=1.0)
    with pytest.raises(ValueError, match="4 channels"):
        SensorAugmentation(replace(TRANSFORM, mean=np.zeros(4), std=np.ones(4)), 5.0)


def test_the_change_is_the_formula_in_float64() -> None:
    """A rotation of the raw signal by a matrix product, then a linear interpolation in time."""
    raw = np.random.default_rng(0).normal(size=(64, 6))
    augment = SensorAugmentation(TRANSFORM, 20.0, 0.3)
    change = augment.draw(np.zeros((0, 2)), GRID, 16, np.random.default_rng(3))
    assert change.rotation is not None and change.length is not None
    turned = (raw.reshape(-1, 2, 3) @ change.rotation.T).reshape(-1, 6)
    wanted = change.length * 4
    position = np.clip((np.arange(wanted) + 0.5) * 64 / wanted - 0.5, 0, 63)
    expected = np.stack([np.interp(position, np.arange(64), channel) for channel in turned.T], 1)
    found = signal_of(augment.apply(torch.from_numpy(TRANSFORM(raw)), change).numpy())
    # The signal is float32 in between: 1e-7 of values up to 10, times a standard deviation up to 6.
    np.testing.assert_allclose(found, expected, atol=2e-5)
