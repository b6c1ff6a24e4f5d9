# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from asl_fast.data.features.manifest_file import read_manifest
from asl_fast.extract import main
from asl_fast.video.decode import VideoError, open_video
from asl_fast.video.even import evenly
from asl_fast.video.extraction import Extracted, extract_videos
from asl_fast.video.feature_folder import FeatureFolder
from asl_fast.video.found import find_video_files
from asl_fast.video.motion import MotionBackbone
from asl_fast.video.options import Recipe
from asl_fast.video.windows import count_windows
from tests.video.clips import write_clip

pytest.importorskip("av")
RECIPE = Recipe(window=4, stride=2)


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    write_clip(folder / "a.mp4", 21)
    write_clip(folder / "b.mkv", 12, fps=30)
    write_clip(folder / "c.avi", 4)
    return folder


def extract(videos: Path, output: Path, **options: object) -> Extracted:
    recipe = options.pop("recipe", RECIPE)
    assert isinstance(recipe, Recipe)
    return extract_videos(find_video_files([videos]), output, MotionBackbone(), recipe, **options)  # type: ignore[arg-type]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.npy")}


def test_features_are_those_of_the_windows(videos: Path, tmp_path: Path) -> None:
    done = extract(videos, tmp_path / "out")
    assert (done.computed, done.skipped, sorted(done.facts)) == (3, {}, ["a", "b", "c"])
    backbone = MotionBackbone()
    for name, file, frames, fps in (("a", "a.mp4", 21, 25), ("b", "b.mkv", 12, 30), ("c", "c.avi", 4, 25)):
        features = np.load(tmp_path / "out" / f"{name}.npy")
        assert features.shape == (count_windows(frames, 4, 2), backbone.dim)
        with open_video(videos / file) as video:
            images = [backbone.prepare(image) for image in evenly(video.frames(), video.fps)]
        expected = [backbone.features(np.stack(images[k : k + 4])[None])[0] for k in range(0, len(images) - 3, 2)]
        np.testing.assert_array_equal(features, expected)
        assert (done.facts[name].fps, done.facts[name].frames) == (fps, frames)
        assert done.facts[name].duration_sec == pytest.approx(frames / fps)
    manifest = read_manifest(tmp_path / "out" / "manifest.json")
    assert (manifest.stride_frame, manifest.window_frame, manifest.fps) == (2, 4, None)
    assert manifest.extraction == backbone.extraction


@pytest.mark.parametrize(("batch_size", "readers"), [(1, 1), (3, 1), (5, 2), (1000, 3)])
def test_bytes_do_not_depend_on_batches(videos: Path, tmp_path: Path, batch_size: int, readers: int) -> None:
    extract(videos, tmp_path / "one")
    extract(videos, tmp_path / "other", batch_size=batch_size, readers=readers)
    assert content(tmp_path / "one") == content(tmp_path / "other")
    assert len(content(tmp_path / "one")) == 3


def test_what_is_there_stays_until_the_video_changes(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    extract(videos, out)
    before = {path: path.stat().st_ino for path in out.glob("*.npy")}
    os.utime(videos / "a.mp4")  # a new date, the same content
    again = extract(videos, out)
    assert (again.computed, len(again.facts)) == (0, 3)
    write_clip(videos / "a.mp4", 11)
    changed = extract(videos, out)
    assert (changed.computed, changed.facts["a"].frames) == (1, 11)
    after = {path: path.stat().st_ino for path in out.glob("*.npy")}
    assert {path.name for path in before if before[path] != after[path]} == {"a.npy"}


def test_a_killed_extraction_goes_on(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extract(videos, tmp_path / "whole")
    monkeypatch.setattr("asl_fast.video.feature_folder._WRITE_EVERY_SEC", -1.0)
    add, write = FeatureFolder.add, FeatureFolder.write_manifest
    names: list[str] = []

    def killed(self: FeatureFolder, name: str, *rest: object) -> None:
        if names:
            monkeypatch.setattr(FeatureFolder, "write_manifest", lambda self: None)
            raise KeyboardInterrupt
        names.append(name)
        add(self, name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(FeatureFolder, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        extract(videos, tmp_path / "out", readers=1)
    monkeypatch.setattr(FeatureFolder, "add", add)
    monkeypatch.setattr(FeatureFolder, "write_manifest", write)
    done = extract(videos, tmp_path / "out")
    assert (done.computed, len(done.facts)) == (2, 3)
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_bad_file_is_skipped_and_named(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (videos / "b.mkv").read_bytes()
    (videos / "b.mkv").write_bytes(whole[: len(whole) // 2])
    (videos / "d.mp4").touch()
    write_clip(videos / "e.mp4", 3)
    words = ["--videos", str(videos), "--output", str(tmp_path / "out"), "--window", "4", "--stride", "2"]
    assert main(words) == 1
    shown = capsys.readouterr()
    for expected in ("d.mp4: is empty", "e.mp4: has 3 frames, fewer than a window of 4", "b.mkv: "):
        assert expected in shown.err
    assert "features of 2 videos" in shown.out
    assert set(content(tmp_path / "out")) == {"a.npy", "c.npy"}
    assert main([*words, "--strict"]) == 2
    assert "error: " in capsys.readouterr().err


def test_features_before_damage_are_kept_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    path = write_clip(tmp_path / "videos" / "a.mkv", 50)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    done = extract(path.parent, tmp_path / "out", keep_damaged=True)
    assert list(done.cut) == ["a"] and done.skipped == {}
    again = extract(path.parent, tmp_path / "out")
    assert again.computed == 0 and again.cut == done.cut and "a.mkv" in again.cut["a"]
    assert 3 < len(np.load(tmp_path / "out" / "a.npy")) < count_windows(50, 4, 2)
    with pytest.raises(VideoError, match=r"a\.mkv"):
        extract(path.parent, tmp_path / "other")


def test_a_folder_of_other_features_is_refused(videos: Path, tmp_path: Path) -> None:
    extract(videos, tmp_path / "out")
    with pytest.raises(ValueError, match=r"made in another way \(stride 4.0 and 2.0\); name another folder"):
        extract(videos, tmp_path / "out", recipe=Recipe(window=4, stride=4))
    with pytest.raises(ValueError, match="frame rates 10"):
        extract(videos, tmp_path / "out", recipe=Recipe(window=4, stride=2, frame_rate=10))
    (tmp_path / "foreign").mkdir()
    np.save(tmp_path / "foreign" / "x.npy", np.zeros((3, 4)))
    with pytest.raises(ValueError, match="holds features from elsewhere"):
        extract(videos, tmp_path / "foreign")


def test_one_rate_for_all(videos: Path, tmp_path: Path) -> None:
    done = extract(videos, tmp_path / "out", recipe=Recipe(window=4, stride=2, frame_rate=50.0))
    assert {name: (facts.fps, facts.frames) for name, facts in done.facts.items()} == {
        "a": (50.0, 42), "b": (50.0, 20), "c": (50.0, 8),
    }  # fmt: skip
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["fps"] == 50


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--window", "0"], "--window must lie between 1 and 4096"),
        (["--stride", "0"], "--stride must lie"),
        (["--frame-rate", "0"], "--frame-rate must lie"),
        (["--batch-size", "0"], "--batch-size must be at least 1"),
        (["--readers", "-1"], "--readers must lie"),
        (["--backbone", "nonesuch"], "--backbone nonesuch is unknown"),
        (["--videos", "nowhere"], "nowhere does not exist"),
        (["--device", "x"], "device 'x' is not one that torch knows"),
        (["--backbone-precision", "bf16"], "motion computes in fp32 alone"),
    ],
)
def test_bad_options(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    given = {"--videos": str(videos), "--output": str(tmp_path / "out")} | {words[0]: words[1]}
    assert main([word for option in given.items() for word in option]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_names_of_videos(tmp_path: Path) -> None:
    for name in ("a.mp4", "in/b.mp4", "in/deep/c.webm", "._a.mp4", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert sorted(find_video_files([tmp_path])) == ["a", "b", "c"]
    (tmp_path / "in" / "a.mp4").touch()
    assert sorted(find_video_files([tmp_path])) == ["a", "in/a", "in/b", "in/deep/c"]
    (tmp_path / "a.webm").touch()
    with pytest.raises(ValueError, match="are both called 'a'"):
        find_video_files([tmp_path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no video file"):
        find_video_files([tmp_path / "empty"])
