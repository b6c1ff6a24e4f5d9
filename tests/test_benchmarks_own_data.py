# SPDX-License-Identifier: Apache-2.0
"""A gesture track as data of one's own: what is written is what was read, and the preset is derived from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from asl_fast.data.annotations.activitynet import read_activitynet_json
from asl_fast.data.datasets.shrec import SHREC22, read_track
from asl_fast.files import read_json
from benchmarks.own_data import main
from tests.data.datasets.test_shrec import small
from tests.shared import shared_file


def test_what_is_written_is_what_was_read(tmp_path: Path) -> None:
    root, out = small(SHREC22, tmp_path / "download"), tmp_path / "own"
    assert main(["--data-root", str(root), "--output", str(out)]) == 0
    track, written = read_track(SHREC22, root), read_activitynet_json(out / "annotations.json")
    assert written.videos.keys() == track.annotations.videos.keys()
    for key, video in track.annotations.videos.items():
        np.testing.assert_array_equal(np.load(out / "features" / f"{key}.npy"), track.signals[key])
        np.testing.assert_array_equal(written.videos[key].segments_sec, video.segments_sec)
        names = [written.class_names[label] for label in written.videos[key].labels]
        assert names == [track.annotations.class_names[label] for label in video.labels]
        assert (written.videos[key].subset, written.videos[key].duration_sec) == (video.subset, video.duration_sec)
    assert read_json(out / "features" / "manifest.json")["fps"] == 20


def test_every_fourth_training_recording(tmp_path: Path) -> None:
    root = shared_file("data/shrec22/sequences.csv").parent
    assert main(["--data-root", str(root), "--output", str(tmp_path), "--every", "4"]) == 0
    database = read_json(tmp_path / "annotations.json")["database"]
    train = [key for key, video in database.items() if video["subset"] == "train"]
    assert train == [f"train_{number:03d}" for number in range(1, 145, 4)]
    assert len(database) - len(train) == 144
    assert len(list((tmp_path / "features").glob("*.npy"))) == len(database)


def test_what_cannot_be_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data-root", str(tmp_path), "--output", str(tmp_path / "own"), "--every", "0"]) == 2
    assert "--every must be at least 1, found 0" in capsys.readouterr().err
