# SPDX-License-Identifier: Apache-2.0
"""One's own data from annotations and features to detections, through the commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asl_fast.check_data import main as check_main
from asl_fast.detect import main as detect_main
from asl_fast.evaluate import main as evaluate_main
from asl_fast.evaluation.activitynet_json import read_detections
from asl_fast.serialization import read_config
from asl_fast.train import main as train_main
from asl_fast.training.config import TrainConfig
from tests.own_recordings import CLASSES, write_recordings

SMALL = [
    *("--preset", "smoke", "--model.width", "16", "--model.num-heads", "2", "--model.attention-windows", "5"),
    *("--threads", "1", "--epochs", "1", "--warmup-epochs", "1", "--device", "cpu"),
]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the words that name the data; the current folder is an empty one."""
    monkeypatch.chdir(tmp_path)
    annotations, features = write_recordings(tmp_path)
    return ["--annotations", annotations.name, "--features", features.name]


def edit(change: Callable[[dict[str, Any]], object]) -> None:
    """Change the entries of ``mine.json`` in place."""
    path = Path("mine.json")
    content = json.loads(path.read_text())
    change(content["database"])
    path.write_text(json.dumps(content))


def failure(capsys: pytest.CaptureFixture[str], main: Callable[[list[str]], int], *words: str) -> str:
    """Return the one line that a refused command prints."""
    status = main(list(words))
    out, err = capsys.readouterr()
    assert status == 2, out
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_from_files_to_detections(own: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert train_main([*own, *SMALL, "--save-preset", "preset.json"]) == 0
    out = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == "asl_fast: mine: real data: mine, mine features: 10 videos to train on, 2 to test on (mine.json)"
    for start in (
        "classes 3 (jump, run, throw): labels of",
        "split 10 videos to train on, 2 held out to score on: there is one subset, 'all'",
        "features width 8, 12 of 12 videos have them: files are named 'v_' + video",
        "stride 8 frames at the videos' own frame rates (usually 25): durations over numbers of feature vectors",
        "window 16 frames:",
        "pyramid levels 3: the longest instances have",
        "regression ranges 0-4-8-unbounded:",
        "maximum length ",
        "batch 2 videos:",
        "lengths of training instances by pyramid level (one grid step is 0.32 s):",
    ):
        assert sum(line.startswith(start) for line in lines) == 1, start
    config = read_config(TrainConfig, Path("runs/mine-001/config.json"))
    assert (config.dataset, config.model.num_levels, config.model.num_classes) == ("mine", 3, 3)
    assert config.data.max_length % 4 == 0 and config.data.max_length == config.model.max_length_grid
    assert config.data.manifest is not None and config.data.manifest.prefix == "v_"

    assert evaluate_main(["--run", "runs/mine-001"]) == 0
    assert detect_main(["--run", "runs/mine-001", "--features", "features", "--output", "found.json"]) == 0
    found = read_detections(Path("found.json"), strict=True)
    assert len(found.videos) == 12 and found.videos[0] == "clip00"
    assert set(found.columns["labels"].tolist()) <= set(CLASSES) and len(found.columns["scores"])
    # The test videos get the detections that training wrote: the grid is the same.
    trained = read_detections(Path("runs/mine-001/detections.json"))
    for video in trained.videos:
        ours, theirs = (f.columns["scores"][f.columns["video"] == video] for f in (found, trained))
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_two_extractors_side_by_side(own: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for name, channels in (("left", slice(0, 3)), ("right", slice(3, 8))):
        Path(name).mkdir()
        for path in Path("features").iterdir():
            np.save(Path(name) / path.name, np.load(path)[:, channels])
    assert train_main([*own[:2], "--features", "left", "right", *SMALL]) == 0
    assert "width 8, 12 of 12 videos have them: files are named 'v_' + video" in capsys.readouterr().out
    words = ["--run", "runs/mine-001", "--output", "found.json", "--features"]
    assert detect_main([*words, "left", "right"]) == 0
    assert read_detections(Path("found.json")).videos[0] == "clip00"


def test_a_saved_preset_gives_the_same_run(own: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert train_main([*own, *SMALL, "--save-preset", "preset.json"]) == 0
    saved = read_config(TrainConfig, Path("preset.json"))
    assert saved.output is None and saved.model.num_classes == 0
    assert train_main(["--preset", "preset.json"]) == 0
    first, second = (json.loads(Path(f"runs/mine-00{i}/summary.json").read_text()) for i in (1, 2))
    assert first == second
    assert train_main(["--preset", "preset.json", "--output", "other", "--epochs", "0", "--seed", "3"]) == 0
    again = read_config(TrainConfig, Path("other/config.json"))
    assert (again.seed, again.epochs, again.data) == (3, 0, saved.data)
    capsys.readouterr()
    assert "is for 'mine', not for 'hapt'" in failure(
        capsys, train_main, "--preset", "preset.json", "--dataset", "hapt"
    )
    assert "preset gone.json does not exist" in failure(capsys, train_main, "--preset", "gone.json")


def test_a_run_is_resumed_by_its_data(own: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert train_main([*own, *SMALL]) == 0
    capsys.readouterr()
    assert train_main([*own, "--resume"]) == 0
    assert "resuming from runs/mine-001" in capsys.readouterr().out


def test_the_check_derives_the_same(own: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert check_main([*own, "--json", "report.json", "--save-preset", "preset.json"]) == 0
    out = capsys.readouterr().out
    assert "pyramid levels    3:" in out and "12 of 12 videos as expected" in out and "ready to train" in out
    report = json.loads(Path("report.json").read_text())
    assert {"classes", "split", "stride", "maximum length"} <= {each["what"] for each in report["decisions"]}
    config = read_config(TrainConfig, Path("preset.json"))
    assert (config.model.num_levels, config.data.train_subset, config.annotations) == (3, "all", "mine.json")
    assert [level["range_grid"] for level in report["levels"]] == [list(r) for r in config.model.ranges_grid]


def test_a_manifest_beside_the_features_is_taken(own: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    manifest = {"name": "right", "stride_frame": 8, "window_frame": 16, "fps": 25, "prefix": "v_"}
    Path("features/manifest.json").write_text(json.dumps(manifest))
    assert check_main(own) == 0
    assert "stride            stride 8, window 16, fps 25: manifest 'right' says so" in capsys.readouterr().out
    Path("features/manifest.json").write_text(json.dumps(manifest | {"name": "wrong", "stride_frame": 16}))
    assert check_main(own) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "features are 2.00 times longer than manifest 'wrong' says" in out and "stride 8 or fps 50?" in out
    assert "feature vectors that manifest 'wrong' expects" in failure(capsys, train_main, *own, *SMALL)
    assert check_main([*own, "--manifest", "thumos14-i3d"]) == 2
    assert "have width 8, but manifest 'thumos14-i3d' says 2048" in capsys.readouterr().err


def test_videos_of_another_stride(own: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for index in range(3):
        path = Path(f"features/v_clip{index:02d}.npy")
        np.save(path, np.load(path)[::2])
    assert check_main(own) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "warning 3 videos of 12 with features" in out and "times shorter than that: " in out
    assert "3 videos of 12 have features" in out and "stride 16 or fps 12.5 there?" in out


def test_features_of_no_use_are_left_out(own: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    values = np.load("features/v_clip03.npy")
    values[2, 1] = np.inf
    np.save("features/v_clip03.npy", values)
    Path("features/v_clip04.npy").write_bytes(b"nothing")
    Path("features/v_clip05.npy").rename("features/v_someone.npy")
    edit(lambda videos: [v.update(subset="train" if k < "clip09" else "test") for k, v in videos.items()])
    assert check_main(own) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "v_clip03.npy: value inf at step 2, channel 1" in out
    assert "v_clip04.npy" in out and "without annotation: someone" in out
    assert "1 video of 12 without features" in out and "'clip05'" in out
    assert train_main([*own, *SMALL]) == 0
    assert "6 videos to train on, 3 to test on" in capsys.readouterr().out


def test_one_class_trains_without_contrast(own: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    edit(lambda videos: [a.update(label="act") for v in videos.values() for a in v["annotations"]])
    assert train_main([*own, *SMALL, "--warmup-epochs", "0"]) == 0
    out = capsys.readouterr().out
    assert "contrast          none: one class has nothing to contrast with" in out
    assert not read_config(TrainConfig, Path("runs/mine-001/config.json")).loss.contrastive


def test_action_lists(own: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The layout of MultiTHUMOS, ids from 1, with their names in a file beside it."""
    database = json.loads(Path("mine.json").read_text())["database"]
    content = {
        key: {
            "subset": "training" if key < "clip09" else "testing",
            "duration": entry["duration"],
            "actions": [[1 + CLASSES.index(a["label"]), *a["segment"]] for a in entry["annotations"]],
        }
        for key, entry in database.items()
    }
    Path("lists.json").write_text(json.dumps(content))
    words = ["--annotations", "lists.json", "--features", "features"]
    assert check_main(words) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "classes 3 (class_1, class_2, class_3): ids 1 to 3 occur, no lists_classes.txt names them" in out
    assert "train on 'training' (9 videos), score on 'testing' (3)" in out
    Path("lists_classes.txt").write_text("".join(f"{i} {name}\n" for i, name in enumerate(CLASSES, 1)))
    assert check_main(words) == 0
    assert "classes 3 (jump, run, throw): ids 1 to 3 occur, named in" in " ".join(capsys.readouterr().out.split())


def test_what_cannot_be_trained_on(own: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    name, folder = own[1], own[3]

    def refused(*words: str, main: Callable[[list[str]], int] = train_main) -> str:
        return failure(capsys, main, *words)

    for main in (train_main, check_main):
        assert "gone.json does not exist" in refused("--annotations", "gone.json", "--features", folder, main=main)
        assert "gone does not exist" in refused("--annotations", name, "--features", "gone", main=main)
        assert "no features given" in refused("--annotations", name, main=main)
    assert "features need the annotations of your own data" in refused("--features", folder)
    assert "no video in subset 'x'" in refused(*own, "--data.train-subset", "x")
    assert "unknown preset 'big'" in refused(*own, "--preset", "big")
    assert "give --dataset NAME --data-root DIR, or your own data" in refused(main=check_main)
    assert "has its own" in refused(
        "--dataset", "thumos14", "--data-root", ".", "--save-preset", "p.json", main=check_main
    )
    edit(lambda videos: [videos.update({f"{key}.mp4": videos.pop(key)}) for key in list(videos)])
    assert "none of the 12 videos of mine.json has features in features: looked for 'clip00.mp4'" in refused(*own)
    edit(lambda videos: [entry.update(annotations=[]) for entry in videos.values()])
    assert "no annotation has a 'label'" in refused(*own)
    Path("mine.json").write_text("[]")
    assert "is this an ActivityNet-style file?" in refused(*own)
    assert not Path("runs").exists()


def test_times_in_frames_are_noticed(own: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    def to_frames(videos: dict[str, Any]) -> None:
        for entry in videos.values():
            for instance in entry["annotations"]:
                instance["segment"] = [60 + 25 * time for time in instance["segment"]]

    edit(to_frames)
    assert "in seconds" in failure(capsys, train_main, *own, *SMALL)
