# SPDX-License-Identifier: Apache-2.0
"""What tells one data set from another, and that a run goes on with its own alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asl_fast.data.annotations.video import Annotations, Video
from asl_fast.data.bundle import DatasetBundle
from asl_fast.data.dataset import DetectionDataset
from asl_fast.data.features.store import InMemoryFeatureStore
from asl_fast.train import main
from asl_fast.training.fingerprint import differences, fingerprint
from asl_fast.training.run_folder import RunFolder
from tests.own_recordings import write_recordings
from tests.training.tiny import tiny_bundle

SMALL = [
    *("--preset", "smoke", "--model.width", "16", "--model.num-heads", "2", "--model.attention-windows", "5"),
    *("--threads", "1", "--epochs", "1", "--warmup-epochs", "0", "--device", "cpu"),
]


def changed(
    *,
    videos: Callable[[list[Video]], list[Video]] = lambda videos: videos,
    features: Callable[[str, np.ndarray], np.ndarray] = lambda name, array: array,
    names: tuple[str, ...] = ("class 0", "class 1"),
) -> DatasetBundle:
    """Make the tiny data set with other training videos, features or names of classes."""
    bundle = replace(tiny_bundle(), synthetic=False)
    train = videos(list(bundle.train.videos))
    store = InMemoryFeatureStore(
        {video.id: features(video.id, bundle.train.store.load(video.id)) for video in (*train, *bundle.test.videos)}
    )
    return replace(
        bundle,
        annotations=Annotations("tiny", names, {video.id: video for video in (*train, *bundle.test.videos)}),
        train=DetectionDataset(train, store, bundle.grid, training=True),
        test=DetectionDataset(bundle.test.videos, store, bundle.grid),
        class_names=names,
    )


def moved(videos: list[Video]) -> list[Video]:
    """Return the same videos, one boundary moved by a millisecond."""
    return [*videos[:-1], replace(videos[-1], segments_sec=videos[-1].segments_sec + [[0, 0], [0, 1e-3]])]


def nudged(name: str, array: np.ndarray) -> np.ndarray:
    """Return the same features, one value of the last test video another."""
    array = array.copy()
    array[-1, -1] += name == "video8"
    return array


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (changed(), []),
        (changed(videos=moved), ["annotations of the training videos"]),
        (changed(videos=lambda v: v[::-1]), ["names or order of the training videos"]),
        (changed(videos=lambda v: v[1:]), ["6 training videos there, 5 now"]),
        (changed(videos=lambda v: [replace(each, fps=25.0) for each in v]), ["annotations of the training videos"]),
        (changed(features=nudged), ["features of the test videos"]),
        (
            changed(features=lambda name, array: array[:-1]),
            [f"{kind} of the {split} videos" for split in ("training", "test") for kind in ("lengths", "features")],
        ),
        (changed(names=("class 1", "class 0")), ["2 classes there, 2 now, reordered"]),
        (
            changed(names=("class 0", "jump", "run")),
            ["2 classes there, 3 now, without class 1 and with jump, run"],
        ),
    ],
)
def test_what_differs_is_named(other: DatasetBundle, expected: list[str]) -> None:
    there = json.loads(json.dumps(fingerprint(changed())))
    assert differences(there, fingerprint(other)) == expected


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content["database"])
    path.write_text(json.dumps(content))


def test_resume_refuses_other_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    annotations, features = write_recordings(tmp_path)
    folder = RunFolder(tmp_path / "run")
    words = ["--annotations", str(annotations), "--features", str(features), *SMALL, "--output", str(folder.path)]
    assert main(words) == 0
    resume = ["--resume", "--output", str(folder.path)]
    files = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    whole = annotations.read_text()
    capsys.readouterr()

    edit(annotations, lambda database: [each["annotations"].pop() for each in database.values()])
    assert main(resume) == 2
    err = capsys.readouterr().err
    assert f"error: {folder.path} was trained on other data: annotations of the training videos; annotations of" in err
    annotations.write_text(whole)
    for path in features.iterdir():
        np.save(path, np.load(path) * np.float32(1.5))
    # Where the file in the folder was lost, the checkpoint knows as well.
    folder.dataset.unlink()
    assert main(resume) == 2
    err = capsys.readouterr().err
    assert f"{folder.last} was trained on other data: features of the training videos; features of the test" in err
    folder.dataset.write_bytes(files[folder.dataset])
    assert main(resume) == 2
    del files[folder.environment], files[folder.config]
    assert {path: path.read_bytes() for path in files} == files


def test_a_run_without_fingerprint_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    annotations, features = write_recordings(tmp_path)
    folder = RunFolder(tmp_path / "run")
    words = ["--annotations", str(annotations), "--features", str(features), *SMALL, "--output", str(folder.path)]
    assert main(words) == 0
    record = json.loads(folder.dataset.read_text())
    del record["fingerprint"]
    folder.dataset.write_text(json.dumps(record))
    # As one that was stopped in its first epoch: a finished one without its checkpoint is not trained anew unasked.
    folder.last.unlink()
    folder.summary.unlink()
    capsys.readouterr()
    assert main(["--resume", "--output", str(folder.path)]) == 0
    assert "has no fingerprint of its data (an older version wrote it)" in capsys.readouterr().out
    assert "fingerprint" in json.loads(folder.dataset.read_text())
