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
from asl_fast.data.channels import ChannelGroup, Preparation
from asl_fast.data.dataset import DetectionDataset, Sample
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
    (rotation,) = change.turns
    assert rotation is not None and change.length is not None
    turned = (raw.reshape(-1, 2, 3) @ rotation.T).reshape(-1, 6)
    wanted = change.length * 4
    position = np.clip((np.arange(wanted) + 0.5) * 64 / wanted - 0.5, 0, 63)
    expected = np.stack([np.interp(position, np.arange(64), channel) for channel in turned.T], 1)
    found = signal_of(augment.apply(torch.from_numpy(TRANSFORM(raw)), change).numpy())
    # The signal is float32 in between: 1e-7 of values up to 10, times a standard deviation up to 6.
    np.testing.assert_allclose(found, expected, atol=2e-5)


HAND = ChannelGroup("skeleton", 9, "hand", up="y")
PHONE = ChannelGroup("triaxial", 6, "phone")
PULSE = ChannelGroup("scalar", 1, "pulse")


def moving(samples: int = 90, seed: int = 0) -> tuple[FeatureTransform, np.ndarray]:
    """Make a transform of a hand, a phone and a pulse, and a raw signal of them that moves smoothly."""
    generator = np.random.default_rng(seed)
    time = np.arange(samples)[:, None] / 15.0
    raw = np.sin(time * generator.uniform(0.5, 2, 16) + generator.uniform(0, 6, 16)) + np.arange(16.0)
    preparation = Preparation((HAND, PHONE, PULSE), "joint", velocities=True)
    return FeatureTransform.fit([raw], 3, preparation), raw


def unpacked(transform: FeatureTransform, features: torch.Tensor) -> np.ndarray:
    values = features.double().numpy().reshape(-1, transform.num_channels)
    return values * transform.std + transform.mean


def apply(transform: FeatureTransform, raw: np.ndarray, seed: int = 0, **amounts: float) -> np.ndarray:
    augment = SensorAugmentation(transform, **amounts)
    features = torch.from_numpy(transform(raw))
    change = augment.draw(np.zeros((0, 2)), GRID, len(features), np.random.default_rng(seed))
    return unpacked(transform, augment.apply(features, change))


def test_a_turn_about_the_vertical_keeps_heights_and_leaves_worn_sensors_alone() -> None:
    transform, raw = moving()
    before, after = unpacked(transform, torch.from_numpy(transform(raw))), apply(transform, raw, turn_sd_deg=40.0)
    for start in (0, 16):  # positions, and velocities behind all groups
        hand, turned = (x[:, start : start + 9].reshape(-1, 3, 3) for x in (before, after))
        np.testing.assert_allclose(turned[..., 1], hand[..., 1], atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(turned, axis=2), np.linalg.norm(hand, axis=2), atol=1e-5)
        assert np.abs(turned - hand).max() > 0.01
    np.testing.assert_array_equal(after[:, 9:16], before[:, 9:16])


def test_turning_what_was_prepared_is_preparing_what_was_turned() -> None:
    transform, raw = moving()
    augment = SensorAugmentation(transform, rotation_sd_deg=30.0, scale_range=0.3)
    features = torch.from_numpy(transform(raw))
    change = augment.draw(np.zeros((0, 2)), GRID, len(features), np.random.default_rng(5))
    hand, phone, pulse = change.turns
    assert hand is not None and phone is not None and pulse is None
    # Two bodies turn apart; only the skeleton changes its size.
    assert np.abs(hand / np.cbrt(np.linalg.det(hand)) - phone).max() > 0.05
    np.testing.assert_allclose(phone @ phone.T, np.eye(3), atol=1e-12)
    assert abs(np.linalg.det(hand) - 1) > 0.01
    turned = raw.copy()
    turned[:, :9] = (raw[:, :9].reshape(-1, 3, 3) @ hand.T).reshape(-1, 9)
    turned[:, 9:15] = (raw[:, 9:15].reshape(-1, 2, 3) @ phone.T).reshape(-1, 6)
    expected = unpacked(transform, torch.from_numpy(transform(turned)))
    np.testing.assert_allclose(unpacked(transform, augment.apply(features, change)), expected, atol=2e-5)


def test_slower_movement_has_smaller_velocities() -> None:
    transform, raw = moving(samples=240)
    augment = SensorAugmentation(transform, speed_range=0.5)
    features = torch.from_numpy(transform(raw))
    change = augment.draw(np.zeros((0, 2)), GRID, len(features), np.random.default_rng(3))
    assert change.length is not None and abs(change.speed - 1) > 0.1
    found = unpacked(transform, augment.apply(features, change))
    # Velocities of the stretched positions, which the same central differences give.
    expected = np.gradient(found[:, :9], axis=0)
    np.testing.assert_allclose(found[5:-5, 16:], expected[5:-5], atol=4e-3)


def test_left_out_channels_are_at_their_mean_and_the_root_stays() -> None:
    transform, raw = moving()
    before = unpacked(transform, torch.from_numpy(transform(raw)))
    seen = set()
    for seed in range(20):
        after = apply(transform, raw, seed, channel_dropout=0.5)
        gone = (np.abs(after - transform.mean) < 1e-6).all(axis=0)
        assert (after[:, ~gone] == before[:, ~gone]).all()
        assert not gone[0:3].any() and not gone[16:19].any()
        units = ([3, 4, 5, 19, 20, 21], [6, 7, 8, 22, 23, 24], [9, 10, 11], [12, 13, 14], [15])
        for number, unit in enumerate(units):
            assert gone[unit].all() or not gone[unit].any()
            seen |= {number} if gone[unit].all() else set()
    assert seen == {0, 1, 2, 3, 4}


def test_noise_has_the_spread_asked_for_and_is_the_same_again() -> None:
    transform, raw = moving(samples=3000)
    before = unpacked(transform, torch.from_numpy(transform(raw)))
    after = apply(transform, raw, jitter_sd=0.1)
    noise = (after - before) / transform.std
    np.testing.assert_allclose(noise.std(axis=0), 0.1, rtol=0.1)
    np.testing.assert_array_equal(after, apply(transform, raw, jitter_sd=0.1))
    assert np.abs(after - apply(transform, raw, 1, jitter_sd=0.1)).max() > 0.01


def test_mirroring_only_where_it_is_allowed() -> None:
    transform, raw = moving()
    with pytest.raises(ValueError, match="channels 'hand' have no 'mirror' axis"):
        SensorAugmentation(transform, mirror_probability=0.5)
    group = replace(HAND, mirror="x")
    allowed = FeatureTransform.fit([raw[:, :9]], 3, Preparation((group,)))
    before = unpacked(allowed, torch.from_numpy(allowed(raw[:, :9])))
    after = apply(allowed, raw[:, :9], mirror_probability=1.0)
    np.testing.assert_allclose(after.reshape(-1, 3), before.reshape(-1, 3) * [-1, 1, 1], atol=1e-5)


def test_every_change_depends_on_seed_epoch_and_index_alone() -> None:
    transform, raw = moving(samples=300)
    store = InMemoryFeatureStore({"a": transform(raw), "b": transform(raw[::-1])})
    videos = [Video(name, "train", 6.0, np.array([[1.0, 2.0]]), np.array([0])) for name in "ab"]
    amounts = {"turn_sd_deg": 20.0, "scale_range": 0.2, "jitter_sd": 0.1, "channel_dropout": 0.3}
    augment = SensorAugmentation(transform, 9.0, 0.2, **amounts)
    grid = FeatureGrid(50.0, 3, 3)
    first = DetectionDataset(videos, store, grid, training=True, augmentation=augment, seed=1)
    seen = {(epoch, index): sample for epoch in range(3) for index, sample in _epoch(first, epoch)}
    # In another order, and from an epoch in the middle, as after a resumption.
    again = first.with_options()
    for epoch, index in ((2, 1), (1, 0), (2, 0), (0, 1)):
        again.set_epoch(epoch)
        sample = again[index]
        assert torch.equal(sample.features, seen[epoch, index].features)
        assert torch.equal(sample.segments, seen[epoch, index].segments) and sample.grid == seen[epoch, index].grid
    assert not torch.equal(seen[0, 0].features[:50], seen[1, 0].features[:50])


def _epoch(dataset: DetectionDataset, epoch: int) -> list[tuple[int, Sample]]:
    dataset.set_epoch(epoch)
    return [(index, dataset[index]) for index in range(len(dataset))]


def test_bad_amounts_of_kinds() -> None:
    for name, value in (("turn_sd_deg", -1.0), ("jitter_sd", np.nan), ("scale_range", 1.0), ("channel_dropout", 1.0)):
        with pytest.raises(ValueError, match=name):
            SensorAugmentation(TRANSFORM, **{name: value})
    with pytest.raises(ValueError, match="mirror_probability"):
        SensorAugmentation(TRANSFORM, mirror_probability=2.0)
    assert not SensorAugmentation(TRANSFORM).is_active
