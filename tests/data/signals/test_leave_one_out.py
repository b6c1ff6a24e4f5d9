# SPDX-License-Identifier: Apache-2.0
"""One person left out, everybody's recordings joined."""

from __future__ import annotations

import numpy as np
import pytest

from asl_fast.data.annotations.video import Annotations, Video
from asl_fast.data.channels import ChannelGroup
from asl_fast.data.datasets.hapt import HaptRecordings, hapt_bundle, read_hapt
from asl_fast.data.signals.leave_one_out import leave_one_out
from asl_fast.data.signals.recordings import SignalRecordings, SignalSettings, signal_bundle
from tests.shared import shared_file

PEOPLE = {"a": 3, "b": 5, "c": 3}


def recorded(*names: str) -> SignalRecordings:
    """Two people, of whom one was recorded twice."""
    lengths = {"a": 40, "b": 50, "c": 20}
    segments = {"a": [[0.0, 1.0], [2.0, 4.0]], "b": [[1.0, 5.0]], "c": [[0.5, 2.0]]}
    labels = {"a": [1, 0], "b": [1], "c": [2]}
    videos = {
        key: Video(key, "train", lengths[key] / 10, np.array(segments[key]), np.array(labels[key]), 10.0)
        for key in names
    }
    signals = {key: np.full((lengths[key], 3), "abc".index(key)) for key in names}
    annotations = Annotations("steps", ("x", "y", "z"), videos, {})
    return SignalRecordings(
        "Steps", signals, annotations, 10.0, (ChannelGroup("triaxial", 3),), PEOPLE, source_noun="user"
    )


def test_recordings_follow_by_name() -> None:
    found = leave_one_out(recorded("c", "a", "b"), 3)
    joined = found.annotations.videos
    assert {key: video.subset for key, video in joined.items()} == {"user03": "test", "user05": "train"}
    whole = joined["user03"]
    assert whole.duration_sec == 6.0 and whole.labels.tolist() == [1, 0, 2]
    assert whole.segments_sec.tolist() == [[0.0, 1.0], [2.0, 4.0], [4.5, 6.0]]
    assert found.signals["user03"][:, 0].tolist() == [0] * 40 + [2] * 20
    assert joined["user05"].segments_sec.tolist() == [[1.0, 5.0]]
    assert "user 3 left out" in signal_bundle(found, SignalSettings()).description


def test_nobody_of_that_number_and_nobody_else() -> None:
    with pytest.raises(ValueError, match="left_out_user 4 is not among the users 3, 5"):
        leave_one_out(recorded("a", "b"), 4)
    with pytest.raises(ValueError, match="left_out_user 5 is the only user"):
        leave_one_out(recorded("b"), 5)


@pytest.fixture(scope="module")
def recordings() -> HaptRecordings:
    return read_hapt(shared_file("data/hapt/hapt_rawdata.zip"))


@pytest.mark.parametrize(("channels", "width"), [(3, 18), (6, 36)])
def test_hapt_without_a_user(recordings: HaptRecordings, channels: int, width: int) -> None:
    bundle = hapt_bundle(recordings, samples_per_step=6, left_out_user=10, num_channels=channels)
    assert (len(bundle.train), [video.id for video in bundle.test.videos]) == (29, ["user10"])
    assert bundle.feature_dim == width and bundle.metadata["num_channels"] == channels
    total = sum(len(video.labels) for part in (bundle.train, bundle.test) for video in part.videos)
    assert total == 1214
    # The one user with three recordings.
    lengths = [len(recordings.signals[f"exp{number}_user10"]) for number in (19, 20, 21)]
    assert bundle.test.videos[0].duration_sec == pytest.approx(sum(lengths) / 50)
    assert bundle.transform is not None
    others = [signal[:, :channels] for key, signal in recordings.signals.items() if recordings.users[key] != 10]
    np.testing.assert_allclose(bundle.transform.mean, np.concatenate(others).mean(axis=0), rtol=0, atol=1e-9)


def test_what_excludes_each_other(recordings: HaptRecordings) -> None:
    with pytest.raises(ValueError, match="fold 0 and left_out_user 1 exclude each other"):
        hapt_bundle(recordings, fold=0, left_out_user=1)
    with pytest.raises(ValueError, match="num_channels must be 3 or 6, got 7"):
        hapt_bundle(recordings, num_channels=7)
