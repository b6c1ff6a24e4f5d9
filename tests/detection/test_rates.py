# SPDX-License-Identifier: Apache-2.0
"""Every recording is put in time by its own frame rate, or not at all."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.grid import FeatureGrid
from asl_fast.detection.rates import read_rates
from asl_fast.detection.recordings import Recordings, open_recordings

MANIFEST = FeatureManifest("mine", 4, 8, 16)
MIXED = {"slow": 25.0, "fast": 50.0}


def dataset(rates: dict[str, float] | None, manifest: FeatureManifest = MANIFEST) -> dict[str, Any]:
    """Return what a run with these training videos knows of them; None: a run of before rates were written down."""
    record = {
        "name": "mine",
        "transform": None,
        "feature_dim": 4,
        "grid": dataclasses.asdict(FeatureGrid(25.0, 8, 16)),
        "manifest": dataclasses.asdict(manifest),
    }
    return record if rates is None else record | {"frame_rates": rates}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make recordings that training knew, and a new one, of 100 feature vectors each."""
    for name in ("slow", "fast", "new"):
        np.save(tmp_path / f"{name}.npy", np.ones((100, 4), np.float32))
    return tmp_path


def rates(found: Recordings) -> dict[str, float]:
    return {name: found.open(name).grid.fps for name in found.names}


def test_known_recordings_have_their_own_rate_and_a_new_one_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"frame rate of new is not known: those of training differ, 25, 50 a second"):
        open_recordings([folder], dataset(MIXED))
    (folder / "new.npy").unlink()
    found = open_recordings([folder], dataset(MIXED))
    assert rates(found) == MIXED and not found.notes
    assert found.open("fast").duration_sec == found.open("slow").duration_sec / 2


def test_rates_by_name_go_before_those_of_training(folder: Path) -> None:
    found = open_recordings([folder], dataset(MIXED), fps={"new": 60.0, "slow": 24.0})
    assert rates(found) == {"slow": 24.0, "fast": 50.0, "new": 60.0}
    assert found.notes == ["--fps has no rate for fast: as in training"]
    assert set(rates(open_recordings([folder], dataset(MIXED), fps=30.0)).values()) == {30.0}


def test_one_rate_in_training_is_that_of_new_recordings(folder: Path) -> None:
    assert set(rates(open_recordings([folder], dataset({"a": 30.0, "b": 30.0}))).values()) == {30.0}


def test_a_length_shows_the_rate(folder: Path) -> None:
    covered = 99 * 8 + 16
    for rate, tail in ((50.0, 0), (30.0, 5), (25.0, 7)):
        found = open_recordings([folder], dataset(MIXED), durations_sec={"new": (covered + tail) / rate})
        assert found.open("new").grid.fps == rate and not found.notes


def test_a_length_that_contradicts_the_rate_is_said(folder: Path) -> None:
    found = open_recordings([folder], dataset({"a": 25.0}), durations_sec={"new": (99 * 8 + 16) / 50})
    found.open("new")
    assert (
        "new: its features cover 32.3 s at 25 frames per second, but --durations says 16.2 s; is its rate 50?"
        in (found.notes[0])
    )


def test_a_run_of_before_says_what_is_assumed(folder: Path) -> None:
    found = open_recordings([folder], dataset(None))
    assert set(rates(found).values()) == {25.0} and "25 is assumed for all recordings" in found.notes[0]


def test_a_given_rate_counts_where_the_manifest_has_one(folder: Path) -> None:
    manifest = dataclasses.replace(MANIFEST, fps=30.0)
    assert set(rates(open_recordings([folder], dataset({}, manifest))).values()) == {30.0}
    assert set(rates(open_recordings([folder], dataset({}, manifest), fps=60.0)).values()) == {60.0}
    by_name = open_recordings([folder], dataset({}, manifest), fps={"new": 60.0})
    assert rates(by_name) == {"fast": 30.0, "slow": 30.0, "new": 60.0}


def test_a_rate_means_nothing_where_steps_are_in_seconds(folder: Path) -> None:
    found = open_recordings([folder], dataset({}, FeatureManifest("mine", 4, 0.5, fps=1.0)), fps=25.0)
    assert found.open("new").grid.step_sec == 0.5 and found.notes[0].startswith("--fps changes nothing")


def test_a_rate_far_from_those_of_training_is_said(folder: Path) -> None:
    found = open_recordings([folder], dataset(MIXED), fps=25000.0)
    assert found.notes == [
        "--fps is 25000, but recordings of training had 50 frames per second: times come out 500 times shorter than "
        "there; is it meant?"
    ]
    assert found.open("new").grid.fps == 25000.0
    found = open_recordings([folder], dataset({"a": 25.0}), fps={"new": 1.0})
    assert found.notes[0].startswith("--fps of new is 1, but") and "25 times longer" in found.notes[0]
    assert not open_recordings([folder], dataset(MIXED), fps=120.0).notes


def test_files_of_rates(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('{"a": 25, "b": 29.97}')
    (tmp_path / "r.csv").write_text("video,fps\na,25\nb,29.97\n")
    assert read_rates(str(tmp_path / "r.json")) == read_rates(str(tmp_path / "r.csv")) == {"a": 25.0, "b": 29.97}
    assert read_rates("29.97") == 29.97


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("r.json", "[25]", "must be JSON like"),
        ("r.json", '{"a": "quick"}', "'a': expected a number"),
        ("r.json", '{"a": 0}', "must be positive, found 0"),
        ("r.csv", "a,25\nb\n", "line 2: expected name,frames per second, found 'b'"),
        ("r.csv", "a,25\na,30\n", "line 2: 'a' occurs twice"),
        ("r.csv", "a,inf\n", "line 1: expected a number, found 'inf'"),
    ],
)
def test_unusable_files_of_rates_are_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_rates(str(tmp_path / name))
    assert name in str(error.value)


@pytest.mark.parametrize("text", ["quick", "0", "-25", "nan", "inf"])
def test_unusable_rates_are_named(text: str) -> None:
    with pytest.raises(ValueError, match=rf"--fps {text}: give frames per second"):
        read_rates(text)
