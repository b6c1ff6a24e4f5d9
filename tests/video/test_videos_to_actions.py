# SPDX-License-Identifier: Apache-2.0
"""From video files to detections by the commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from asl_fast import check_data, detect, extract, pack, train
from asl_fast.data.features.extraction import read_video_facts
from asl_fast.files import read_json, write_json
from examples.video.compare import ends_off
from examples.video.compare import main as compare
from examples.video.moving_shapes import ACTIONS, draw_actions, draw_frames, write_clips
from tests.video.clips import write_clip

pytest.importorskip("av")
WINDOW = ["--window", "8", "--stride", "4"]
TINY = ["--preset", "smoke", "--epochs", "1", "--warmup-epochs", "0", "--model.width", "16", "--threads", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train on four clips whose annotations say neither rates nor lengths."""
    folder = tmp_path_factory.mktemp("shapes")
    actions = read_json(write_clips(folder, 4, seconds=8.0))
    for entry in actions["database"].values():
        del entry["duration"]
    write_json(folder / "no-lengths.json", actions)
    words = ["--annotations", str(folder / "no-lengths.json"), "--videos", str(folder / "videos"), *WINDOW, *TINY]
    assert train.main([*words, "--video-cache", str(folder / "cache"), "--output", str(folder / "run")]) == 0
    return folder


def features_of(folder: Path) -> Path:
    """Return the folder that training took its features from."""
    (features,) = read_json(folder / "run" / "config.json")["features"]
    return Path(features)


def find(folder: Path, *words: str, output: Path) -> int:
    cache = [] if "--features" in words else ["--video-cache", str(folder / "cache")]
    return detect.main(["--run", str(folder / "run"), *words, *cache, "--output", str(output)])


def test_training_knows_rates_lengths_and_extraction(folder: Path) -> None:
    record = read_json(folder / "run" / "dataset.json")
    assert set(record["frame_rates"].values()) == {25.0}
    assert record["manifest"]["extraction"]["backbone"] == "motion"
    features = features_of(folder)
    assert sorted(path.stem for path in features.glob("*.npy")) == [f"shapes-{k:02d}" for k in range(4)]


def test_videos_and_their_features_give_the_same_detections(folder: Path, tmp_path: Path) -> None:
    features = features_of(folder)
    assert find(folder, "--videos", str(folder / "videos"), output=tmp_path / "videos.json") == 0
    assert find(folder, "--features", str(features), output=tmp_path / "features.json") == 0
    found = [json.loads((tmp_path / name).read_text())["results"] for name in ("videos.json", "features.json")]
    assert found[0] == found[1]
    assert max(each["segment"][1] for rows in found[0].values() for each in rows) <= 8.0


def test_one_video_to_subtitles(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "videos" / "shapes-00.mp4", tmp_path / "new.mp4")
    words = ("--videos", str(tmp_path / "new.mp4"), "--format", "srt")
    assert find(folder, *words, output=tmp_path / "new.srt") == 0
    assert " --> " in (tmp_path / "new.srt").read_text()


def test_a_stream_to_lines(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(1)
    actions, number = draw_actions(random, 8.0)
    write_clip(tmp_path / "live.ts", draw_frames(random, actions, number), codec="mpeg2video")
    words = ["--run", str(folder / "run"), "--output", str(tmp_path / "found.jsonl"), "--patience", "0"]
    assert detect.main([*words, "--stream", str(tmp_path / "live.ts"), "--least-score", "0.005"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    assert lines and all(line["label"] in ACTIONS and line["delay_sec"] >= 0 for line in lines)
    assert f"the stream has ended: {len(lines)} action" in capsys.readouterr().out
    (tmp_path / "text.ts").write_text("no video")
    for name in ("none.ts", "text.ts"):
        assert detect.main([*words, "--stream", str(tmp_path / name)]) == 2
        assert len((tmp_path / "found.jsonl").read_text().splitlines()) == len(lines), "what was told stays"
    assert detect.main([*words, "--stream", str(tmp_path / "live.ts"), "--format", "srt"]) == 2


def test_a_bad_video_is_named(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(folder / "videos" / "shapes-00.mp4", tmp_path / "good.mp4")
    (tmp_path / "bad.mp4").touch()
    (tmp_path / "gone.mp4").symlink_to("nowhere")
    shutil.copy(tmp_path / "good.mp4", tmp_path / f"{'n' * 240}.mp4")
    assert find(folder, "--videos", str(tmp_path), output=tmp_path / "found.json") == 0
    assert "skipped: " in (err := capsys.readouterr().err) and "bad.mp4: is empty" in err
    assert "gone.mp4 is a link to a file that does not exist" in err
    assert "is too long for its features; rename it" in err
    assert list(read_json(tmp_path / "found.json")["results"]) == ["good"]
    assert find(folder, "--videos", str(tmp_path), "--strict", output=tmp_path / "found.json") == 2


def test_features_made_in_another_way_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--videos", str(folder / "videos" / "shapes-00.mp4"), "--output", str(tmp_path / "other"), "--window", "8"]
    assert extract.main(words) == 0
    capsys.readouterr()
    assert find(folder, "--features", str(tmp_path / "other"), output=tmp_path / "x.json") == 2
    assert "made in another way than those of the run: stride 4.0 and 8.0" in capsys.readouterr().err
    features = features_of(folder)
    shutil.copytree(features, tmp_path / "changed")
    manifest = read_json(tmp_path / "changed" / "manifest.json")
    manifest["extraction"]["digest"] = "0" * 64
    write_json(tmp_path / "changed" / "manifest.json", manifest)
    assert find(folder, "--features", str(tmp_path / "changed"), output=tmp_path / "x.json") == 2
    assert "weights" in capsys.readouterr().err
    assert pack.main(["--features", str(tmp_path / "changed"), "--output", str(tmp_path / "packed")]) == 0
    (tmp_path / "packed" / "manifest.json").unlink()
    assert find(folder, "--features", str(tmp_path / "packed"), output=tmp_path / "x.json") == 2
    assert "weights" in capsys.readouterr().err


def test_features_that_nothing_is_said_of_are_used_with_a_word(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(features_of(folder), tmp_path / "bare")
    (tmp_path / "bare" / "manifest.json").unlink()
    assert find(folder, "--features", str(tmp_path / "bare"), output=tmp_path / "x.json") == 0
    told = capsys.readouterr().err
    assert "nothing says how these features were made; those of the run were made by motion, stride 4, window 8" in told


@pytest.mark.parametrize("annotated", [True, False])
def test_a_packed_store_knows_what_the_features_did(folder: Path, tmp_path: Path, annotated: bool) -> None:
    features, packed, annotations = features_of(folder), tmp_path / "packed", folder / "no-lengths.json"
    words = ["--annotations", str(annotations)] if annotated else []
    assert pack.main(["--features", str(features), "--output", str(packed), *words]) == 0
    assert read_video_facts(packed / "manifest.json") == read_video_facts(features / "manifest.json")
    assert check_data.main(["--annotations", str(annotations), "--features", str(packed)]) == 0
    found = []
    for place in (features, packed):
        assert find(folder, "--features", str(place), output=tmp_path / "found.json") == 0
        found.append(read_json(tmp_path / "found.json")["results"])
    assert found[0] == found[1]


def test_check_data_takes_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    features = features_of(folder)
    words = ["--annotations", str(folder / "no-lengths.json"), "--features", str(features)]
    assert check_data.main(words) == 0
    assert "stride 4, window 8" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--videos", "v"], "--videos need the --annotations of your own data"),
        (["--annotations", "a.json", "--videos", "v", "--features", "f"], "stand in place of --features"),
        (["--annotations", "a.json", "--videos", "nowhere"], "--videos nowhere does not exist"),
        (["--dataset", "thumos14", "--videos", "v"], "--videos need the --annotations"),
    ],
)
def test_videos_that_training_cannot_take(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--features needs at least one file or folder, or give --videos or --stream"),
        (["--videos", "a", "--features", "b"], "give either --features, --videos or --stream"),
        (["--videos", "a", "--fps", "25"], "--videos know their rates"),
    ],
)
def test_options_that_detection_cannot_take(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert detect.main(["--run", "r", "--output", "x.json", *words]) == 2
    assert message in capsys.readouterr().err


def test_the_comparison_of_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    action = {"label": "bounces", "segment": [2.0, 4.0]}
    entry = {"subset": "test", "annotations": [action, {**action, "segment": [7, 8]}]}
    write_json(tmp_path / "a.json", {"database": {"x": entry, "trained on": {**entry, "subset": "train"}}})
    near = {"label": "bounces", "segment": [2.1, 3.95], "score": 0.9}
    others = [{**near, "segment": [1.0, 3.0], "score": 0.5}, {**near, "label": "flickers", "score": 1.0}]
    write_json(tmp_path / "d.json", {"results": {"x": [*others, near], "trained on": []}})
    off = ends_off(tmp_path / "a.json", tmp_path / "d.json")
    np.testing.assert_allclose(off[0], [0.1, -0.05])
    assert np.isinf(off[1]).all()
    assert compare([str(tmp_path / "a.json"), str(tmp_path / "d.json"), "0.16"]) == 1
    assert "1 of 2 actions in clips that were not trained on are found" in capsys.readouterr().out
