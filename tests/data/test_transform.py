# SPDX-License-Identifier: Apache-2.0
"""Normalisation and gathering of raw samples."""

from __future__ import annotations

import json

import numpy as np
import pytest

from asl_fast.data.transform import FeatureTransform

RNG = np.random.default_rng(0)


def test_fit_and_apply() -> None:
    signals = [RNG.normal(3, 2, (50, 4)), RNG.normal(-1, 5, (7, 4))]
    transform = FeatureTransform.fit(signals, samples_per_step=5)
    whole = np.concatenate(signals)
    np.testing.assert_allclose(transform.mean, whole.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(transform.std, whole.std(axis=0), rtol=1e-12)
    features = transform(signals[1])
    assert features.shape == (2, 20) and features.dtype == np.float32 and transform.feature_dim == 20
    raw = features.reshape(-1, 4)
    np.testing.assert_allclose(raw[:7] * transform.std + transform.mean, signals[1], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(raw[7:], np.repeat(raw[6:7], 3, axis=0))


def test_state_goes_through_json() -> None:
    transform = FeatureTransform.fit([RNG.normal(size=(9, 3))], samples_per_step=2)
    back = FeatureTransform.from_state(json.loads(json.dumps(transform.state())))
    signal = RNG.normal(size=(11, 3))
    np.testing.assert_array_equal(back(signal), transform(signal))


def test_constant_channel_is_left_at_zero() -> None:
    signal = np.stack([np.full(8, 2.5), np.arange(8.0)], axis=1)
    features = FeatureTransform.fit([signal])(signal)
    assert (features[:, 0] == 0).all() and np.isfinite(features).all()


def test_one_sample() -> None:
    assert FeatureTransform(np.zeros(2), np.ones(2), 3)(np.ones((1, 2))).shape == (1, 6)


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        (np.zeros((0, 2)), r"got \(0, 2\)"),
        (np.zeros((4, 3)), r"must be \(N, 2\)"),
        (np.zeros(4), r"got \(4,\)"),
        (np.array([[1.0, 2.0], [np.nan, 1.0]]), "sample 1 of the raw signal is not finite"),
    ],
)
def test_bad_signal(signal: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureTransform(np.zeros(2), np.ones(2))(signal)


def test_bad_statistics() -> None:
    with pytest.raises(ValueError, match="std > 0"):
        FeatureTransform(np.zeros(2), np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="samples_per_step"):
        FeatureTransform(np.zeros(2), np.ones(2), 0)
    with pytest.raises(ValueError, match="no samples"):
        FeatureTransform.fit([])
