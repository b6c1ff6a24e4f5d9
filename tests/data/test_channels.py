# SPDX-License-Identifier: Apache-2.0
"""Groups of channels, and what is made of skeletons."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from asl_fast.data.channels import ChannelGroup, Preparation, geometric_median, parse_channels
from asl_fast.data.transform import FeatureTransform

HAND = ChannelGroup("skeleton", 6, "hand", up="y")
PULSE = ChannelGroup("scalar", 1)
# Two joints: the root moves along x, the other is one above it and drifts away along z.
RAW = np.array([[float(t + 10), 2.0, 3.0, float(t + 10), 3.0, 3.0 + t, 7.0] for t in range(5)])


def test_as_recorded() -> None:
    prepared = Preparation((HAND, PULSE))
    assert (prepared.num_raw, prepared.num_channels) == (7, 7)
    np.testing.assert_array_equal(prepared(RAW), RAW)


def test_relative_to_the_place_in_the_recording() -> None:
    found = Preparation((HAND, PULSE), "recording")(RAW)
    np.testing.assert_allclose(found[:, :3], [[t - 2.0, 0, 0] for t in range(5)], atol=1e-6)
    np.testing.assert_allclose(found[:, 3:6], [[t - 2.0, 1, t] for t in range(5)], atol=1e-6)
    np.testing.assert_array_equal(found[:, 6], 7.0)


def test_relative_to_the_root_with_velocities() -> None:
    prepared = Preparation((PULSE, HAND), "joint", velocities=True)
    found = prepared(np.roll(RAW, 1, axis=1))
    assert prepared.num_channels == found.shape[1] == 13
    np.testing.assert_allclose(found[:, 1:4], [[t - 2.0, 0, 0] for t in range(5)], atol=1e-6)
    np.testing.assert_allclose(found[:, 4:7], [[0, 1, t] for t in range(5)], atol=1e-6)
    np.testing.assert_allclose(found[:, 7:], np.tile([1.0, 0, 0, 0, 0, 1], (5, 1)), atol=1e-9)
    assert [(part.start, part.size, part.group, part.is_velocity) for part in prepared.parts] == [
        (0, 1, 0, False),
        (1, 6, 1, False),
        (7, 6, 1, True),
    ]
    one = prepared(RAW[:1])
    assert one.shape == (1, 13) and np.isfinite(one).all() and (one[:, 7:] == 0).all()


def test_a_jump_of_the_tracking_hardly_moves_the_place() -> None:
    generator = np.random.default_rng(0)
    points = generator.normal(0, 0.05, (400, 3))
    jumped = points.copy()
    jumped[5:9] = [16.0, -3.0, 8.0]
    assert np.abs(geometric_median(jumped) - geometric_median(points)).max() < 0.002
    turn, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    np.testing.assert_allclose(geometric_median(jumped @ turn.T), turn @ geometric_median(jumped), atol=1e-9)
    np.testing.assert_array_equal(geometric_median(np.ones((3, 3))), np.ones(3))


def test_state_of_a_transform_goes_through_json() -> None:
    preparation = Preparation((HAND, PULSE), "joint", velocities=True)
    transform = FeatureTransform.fit([RAW], 2, preparation, clip_sd=1.25)
    back = FeatureTransform.from_state(json.loads(json.dumps(transform.state())))
    assert back.preparation == preparation
    np.testing.assert_array_equal(back(RAW), transform(RAW))
    assert np.abs(transform(RAW)).max() == 1.25
    old = {key: transform.state()[key] for key in ("mean", "std", "samples_per_step")}
    assert FeatureTransform.from_state(old).preparation is None
    with pytest.raises(ValueError, match="13 prepared channels, but mean and std of 7"):
        FeatureTransform(np.zeros(7), np.ones(7), preparation=preparation)
    with pytest.raises(ValueError, match="clip_sd"):
        FeatureTransform(np.zeros(7), np.ones(7), clip_sd=-1.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"kind": "triaxial"}, r"c\[0\]: expected .*kind.*size"),
        ({"kind": "triaxial", "size": 6, "colour": 1}, "with the keys kind, size, name, up, mirror"),
        ({"kind": "joint", "size": 6}, "kind must be one of triaxial, skeleton, scalar, got 'joint'"),
        ({"kind": "triaxial", "size": 4}, "triaxial channels come in threes, got 4"),
        ({"kind": "scalar", "size": 0}, "size must be a positive number"),
        ({"kind": "scalar", "size": True}, "size must be a positive number"),
        ({"kind": "scalar", "size": 2, "up": "y"}, "up is 'y', but a scalar has none"),
        ({"kind": "skeleton", "size": 3, "up": "north"}, "it is one of x, y, z"),
        (7, r"c\[0\]: expected"),
    ],
)
def test_bad_groups(content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_channels([content], "c")


def test_bad_lists_and_ways_to_centre() -> None:
    for content in ([], "triaxial", None, {"kind": "scalar", "size": 1}):
        with pytest.raises(ValueError, match="c: expected a list"):
            parse_channels(content, "c")
    with pytest.raises(ValueError, match="centre must be one of none, recording, joint"):
        Preparation((HAND,), "wrist")  # type: ignore[arg-type]
    assert parse_channels([{"kind": "skeleton", "size": 6, "name": "hand", "up": "y"}], "c") == (HAND,)
