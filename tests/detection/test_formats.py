# SPDX-License-Identifier: Apache-2.0
"""``detect --format``: every format from one run, where the files go, and what is refused before the work."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from asl_fast.data.bundle import DatasetBundle
from asl_fast.detect import main
from asl_fast.detection.trained import load_trained
from asl_fast.detection.writing import crowded_subtitles, listed
from asl_fast.evaluate import main as evaluate_main
from asl_fast.evaluation.activitynet_json import read_detections
from asl_fast.formats.known import NAMES, places
from asl_fast.formats.recording import Action, Recording
from asl_fast.training.run_folder import RunFolder
from tests.training.tiny import finished_run, tiny_bundle


@pytest.fixture(scope="module")
def bundle() -> DatasetBundle:
    return tiny_bundle()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, bundle: DatasetBundle) -> RunFolder:
    return finished_run(tmp_path_factory.mktemp("run"), bundle)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory, bundle: DatasetBundle) -> Path:
    folder = tmp_path_factory.mktemp("features")
    for video in bundle.test.videos:
        np.save(folder / f"{video.id}.npy", bundle.test.store.load(video.id))
    return folder


def refused(capsys: pytest.CaptureFixture[str], run: RunFolder, features: Path, *words: str) -> str:
    """Return the one line that a refused command prints."""
    assert main(["--run", str(run.path), "--features", str(features), *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1
    return err


def test_every_format_holds_the_same_detections(
    run: RunFolder, features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "found.json"
    words = ["--run", str(run.path), "--features", str(features), "--output", str(output)]
    assert main([*words, "--format", ",".join(NAMES)]) == 0
    said = capsys.readouterr().out
    assert f"written to {output}, {tmp_path / 'found.csv'}, " in said
    assert f"3 files {tmp_path / 'found'}/*.srt, 3 files {tmp_path / 'found'}/*.vtt and 3 files " in said
    assert "actions at a time are in the subtitles; --min-score 0." in said
    found = read_detections(output, strict=True)
    table = read_detections(tmp_path / "found.csv", strict=True)
    for column in ("video", "segments", "labels", "scores"):
        np.testing.assert_array_equal(table.columns[column], found.columns[column])
    number = len(found.columns["scores"])
    for ending, mark in ((".srt", " --> "), (".vtt", " --> "), (".eaf", "<ALIGNABLE_ANNOTATION ")):
        texts = [(tmp_path / "found" / f"{name}{ending}").read_text() for name in found.videos]
        assert sum(text.count(mark) for text in texts) == number > 0
    tasks = json.loads((tmp_path / "found.label-studio.json").read_text())
    assert sum(len(task["predictions"][0]["result"]) for task in tasks) == number
    labels = json.loads((tmp_path / "found.fiftyone.json").read_text())["labels"]
    assert {name: len(each) for name, each in labels.items()} == {
        name: int((found.columns["video"] == name).sum()) for name in found.videos
    }


def test_the_evaluation_scores_the_table_as_the_json(
    run: RunFolder, features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--run", str(run.path), "--features", str(features), "--output", str(tmp_path / "found.csv")]
    assert main([*words, "--format", "csv,json"]) == 0
    results = []
    for name in ("found.csv", "found.json"):
        capsys.readouterr()
        files = ["--ground-truth", str(run.ground_truth), "--predictions", str(tmp_path / name)]
        assert evaluate_main([*files, "--tiou", "0.1:0.5:0.1"]) == 0
        results.append(capsys.readouterr().out)
    assert results[0] == results[1] != ""


def test_subtitles_alone_go_into_a_folder_or_one_file(run: RunFolder, features: Path, tmp_path: Path) -> None:
    words = ["--run", str(run.path), "--format", "srt"]
    assert main([*words, "--features", str(features), "--output", str(tmp_path / "subtitles")]) == 0
    assert sorted(path.name for path in (tmp_path / "subtitles").iterdir()) == [
        *("video6.srt", "video7.srt", "video8.srt")
    ]
    one = ["--features", str(features / "video7.npy"), "--output", str(tmp_path / "film.srt")]
    assert main([*words, *one]) == 0
    # Another batch rounds otherwise, but no time by a millisecond.
    assert len((tmp_path / "film.srt").read_text()) == len((tmp_path / "subtitles" / "video7.srt").read_text())


def test_what_cannot_be_written_is_refused_before_the_work(
    run: RunFolder, features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "found.csv").mkdir()
    for formats, output, message in (
        ("cvs", "found.json", "'cvs' is no format; did you mean 'csv'?"),
        ("srt", "film.srt", "film.srt is one file for 3 recordings: name a folder, which gets a .srt file of each"),
        ("srt,vtt", "file", "srt, vtt have a file for each recording, and"),
        ("srt", "none/folder", "none does not exist"),
        ("json,srt", "found", "would be a file and a folder"),
        ("json,csv", "found.json", "found.csv is a folder; name a file in it"),
    ):
        words = ("--format", formats, "--output", str(tmp_path / output))
        assert message in refused(capsys, run, features, *words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "found.csv"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_refused(
    run: RunFolder, features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    words = ("--format", "srt", "--output", str(tmp_path / "closed"))
    assert "cannot be written" in refused(capsys, run, features, *words)


def test_the_hint_names_scores_that_thin_out_enough() -> None:
    target = places(Path("subtitles"), ("vtt",))
    crowded = Recording("a", 10.0, 25.0, tuple(Action(0.0, 10.0, "run", 0.9 - i / 10) for i in range(9)))
    hint = crowded_subtitles(target, [crowded])
    assert hint == (
        "up to 9 actions at a time are in the subtitles; --min-score 0.65 --score-threshold 0.65 leaves the surer ones"
    )
    assert crowded_subtitles(target, [Recording("a", 10.0, 25.0, crowded.actions[:3])]) is None
    assert crowded_subtitles(places(Path("a.csv"), ("csv",)), [crowded]) is None
    assert crowded_subtitles(target, []) is None


def test_files_are_listed_in_short() -> None:
    a, b = Path("a"), Path("b")
    assert listed([a / "x.json"], None) == "a/x.json"
    assert listed([a / "x.json", a / "y.json", b / "1.srt", b / "2.srt"], b) == "a/x.json, a/y.json and 2 files b/*.srt"
    assert listed([b / "1.eaf"], b) == "1 file b/*.eaf"
    assert listed([], b) == "no file"


def test_frame_rates_are_those_of_the_recordings(run: RunFolder, features: Path, tmp_path: Path) -> None:
    output = tmp_path / "tasks.json"
    words = ["--run", str(run.path), "--features", str(features), "--format", "label-studio", "--output", str(output)]
    assert main([*words, "--fps", "30"]) == 0
    tasks = json.loads(output.read_text())
    assert [task["data"]["fps"] for task in tasks] == [30.0] * 3
    assert tasks[0]["predictions"][0]["model_version"] == f"{run.last} epoch {load_trained(run.path).epoch}"
    config = (tmp_path / "tasks.label-studio.xml").read_text()
    assert '<Label value="class 1" />' in config
