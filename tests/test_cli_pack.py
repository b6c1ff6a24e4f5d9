# SPDX-License-Identifier: Apache-2.0
"""``python -m asl_fast.pack``, and that training and detection read a packed store like the files."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from asl_fast.data.annotations.activitynet import write_activitynet_json
from asl_fast.data.custom.data import open_own_data
from asl_fast.data.features.packed_store import DATA, PackedFeatureStore
from asl_fast.data.load import load_dataset
from asl_fast.detect import main as detect
from asl_fast.pack import main
from asl_fast.train import main as train
from asl_fast.training.run_folder import RunFolder
from tests.training.tiny import TINY_OPTIONS


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five videos of the THUMOS14 twin, written as a user's data root."""
    root = tmp_path_factory.mktemp("thumos")
    bundle = load_dataset("thumos14", synthetic_scale="smoke")
    kept = {video.id: video for video in (*bundle.train.videos[:3], *bundle.test.videos[:2])}
    (root / "features").mkdir()
    for name, video in kept.items():
        # As wide as real ones; the twin's are narrower at this size.
        np.save(root / "features" / f"{name}.npy", np.tile(bundle.train.store.load(name), 2048 // bundle.feature_dim))
        kept[name] = replace(video, fps=bundle.grid.fps)
    write_activitynet_json(replace(bundle.annotations, videos=kept), root / "thumos14.json")
    return root


@pytest.fixture
def root(twin: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(twin, tmp_path / "root"))


def pack(root: Path, *words: str) -> int:
    return main(["--dataset", "thumos14", "--data-root", str(root), *words])


def trained(root: Path, output: Path) -> dict[str, object]:
    """Return what a run leaves: its weights, detections and scores."""
    words = ["--dataset", "thumos14", "--data-root", str(root), "--output", str(output), *TINY_OPTIONS]
    assert train(words) == 0
    checkpoint = torch.load(RunFolder(output).last, weights_only=True, map_location="cpu")
    summary = json.loads((output / "evaluation.json").read_text())
    return {"checkpoint": checkpoint, "detections": (output / "detections.json").read_bytes(), "scores": summary}


def test_training_gives_the_same_bits_from_files_and_packed(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from_files = trained(root, tmp_path / "a")
    assert pack(root) == 0
    capsys.readouterr()
    shutil.rmtree(root / "features")
    from_store = trained(root, tmp_path / "b")
    assert "features packed as float32: 3 videos to train on, 2 to test on" in capsys.readouterr().out.splitlines()[0]
    for part in ("detections", "scores"):
        assert from_files[part] == from_store[part]
    weights, others = (run["checkpoint"]["detector"] for run in (from_files, from_store))  # type: ignore[index]
    assert weights.keys() == others.keys() and len(weights) > 20
    for name, value in weights.items():
        assert torch.equal(value, others[name]), name
    # The store itself can be named as well, and detection takes it.
    named = load_dataset("thumos14", root / "packed")
    assert [video.id for video in named.test.videos] == sorted(json.loads(from_store["detections"])["results"])  # type: ignore[arg-type]
    output = tmp_path / "detections.json"
    assert detect(["--run", str(tmp_path / "b"), "--features", str(root / "packed"), "--output", str(output)]) == 0
    assert len(json.loads(output.read_text())["results"]) == 5


def test_float16_and_what_is_printed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pack(root, "--dtype", "float16") == 0
    out = capsys.readouterr().out
    assert "packed: 5 videos" in out and "float16 changed values by at most" in out
    bundle = load_dataset("thumos14", root)
    name = bundle.test.videos[0].id
    exact = np.load(root / "features" / f"{name}.npy")
    np.testing.assert_array_equal(bundle.test.store.load(name), exact.astype(np.float16).astype(np.float32))
    assert bundle.metadata["manifest"] == "thumos14-i3d"
    assert pack(root) == 2
    assert "packed exists already" in capsys.readouterr().err
    assert pack(root, "--output", str(root / "second")) == 0
    with pytest.raises(ValueError, match="holds 2 packed stores, packed, second: give the path"):
        load_dataset("thumos14", root)
    with pytest.raises(ValueError, match=r"was packed with FeatureManifest\(name='thumos14-i3d'"):
        load_dataset("thumos14", root / "packed", manifest="multithumos-i3d")


def test_damage_is_reported_by_verify_and_skipped_by_training(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pack(root) == 0
    assert main(["--verify", str(root / "packed")]) == 0
    assert "5 of 5 videos are intact" in capsys.readouterr().out
    last = PackedFeatureStore(root / "packed").video_ids[-1]
    with (root / "packed" / DATA).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    assert main(["--verify", str(root / "packed")]) == 1
    captured = capsys.readouterr()
    assert f"video {last!r} is damaged" in captured.err and "4 of 5 videos are intact" in captured.out
    assert load_dataset("thumos14", root).metadata["skipped"] == {last: "video with unusable features"}
    with pytest.raises(ValueError, match="is damaged"):
        load_dataset("thumos14", root, strict=True)


def test_training_says_what_it_left_out_and_strict_stops(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads((root / "thumos14.json").read_text())
    video = next(entry for entry in content["database"].values() if entry["subset"] != "Test")
    video["annotations"][0]["segment"][1] = video["duration"] + 5
    video["annotations"].append({**video["annotations"][0], "segment": [2.0, 2.0]})
    (root / "thumos14.json").write_text(json.dumps(content))
    bad = min((root / "features").glob("*test*"))
    bad.write_bytes(bad.read_bytes()[:-1])
    words = ["--dataset", "thumos14", "--data-root", str(root), "--output", str(tmp_path / "run"), *TINY_OPTIONS]
    assert train([*words, "--strict"]) == 2
    assert f"{bad.name}: truncated" in capsys.readouterr().err
    assert train(words) == 0
    out = capsys.readouterr().out
    assert "1 video is left out: 1 x video with unusable features; --strict stops at the first" in out
    assert "1 segment cut at the ends of their video, 1 empty or outside and not used" in out
    assert json.loads((tmp_path / "run" / "dataset.json").read_text())["metadata"]["skipped"] == {
        bad.stem: "video with unusable features"
    }


def test_a_folder_without_a_benchmark(root: Path, tmp_path: Path) -> None:
    assert main(["--features", str(root / "features"), "--output", str(tmp_path / "mine")]) == 0
    store = PackedFeatureStore(tmp_path / "mine")
    assert len(store.video_ids) == 5 and store.manifest is None


def test_own_data_and_several_extractors(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    halves = [tmp_path / "left", tmp_path / "right"]
    for index, half in enumerate(halves):
        half.mkdir()
        for path in (root / "features").iterdir():
            np.save(half / f"v_{path.name}", np.load(path)[:, 1024 * index : 1024 * (index + 1)])
    mine, annotations = tmp_path / "mine", root / "thumos14.json"
    words = ["--annotations", str(annotations), "--features", *map(str, halves), "--output", str(mine)]
    assert main(words) == 0
    assert f"next: python -m asl_fast.train --annotations {annotations} --features {mine}" in capsys.readouterr().out
    from_files, packed = open_own_data(annotations, halves).source, open_own_data(annotations, [mine]).source
    assert packed.layout == replace(from_files.layout, name=packed.layout.name)
    assert [v.id for v in packed.train] == [v.id for v in from_files.train]
    for video in packed.videos:
        np.testing.assert_array_equal(packed.store.load(video.id), from_files.store.load(video.id))
    # Packed without annotations, videos keep the names of their files.
    assert main(["--features", str(halves[0]), "--output", str(tmp_path / "left.packed")]) == 0
    left = open_own_data(annotations, [tmp_path / "left.packed"]).source
    assert [v.id for v in left.videos] == [v.id for v in packed.videos] and left.store.dim == 1024


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dataset", "hapt", "--data-root", "x.zip"], "hapt is read whole into memory"),
        (["--dataset", "thumos14"], "give --data-root DIR; a synthetic twin is generated in memory"),
        (["--data-root", "."], "give --dataset, one of thumos14, multithumos"),
        (["--features", "nowhere", "--output", "x"], "feature path nowhere does not exist"),
        (["--features", "x", "--dataset", "hapt"], "either --features, or --dataset and --data-root"),
        (["--annotations", "a.json"], "--annotations needs --features"),
        (["--verify", "nowhere"], "packed.json does not exist"),
    ],
)
def test_what_cannot_be_packed(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and message in err and err.count("\n") == 1


def test_features_need_an_output(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--features", str(root / "features")]) == 2
    assert "--features needs --output" in capsys.readouterr().err


def test_ctrl_c_says_how_to_go_on(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load, seen = np.load, []

    def stop(path: Path, **options: bool) -> np.ndarray:
        seen.append(path)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return load(path, **options)

    monkeypatch.setattr(np, "load", stop)
    assert pack(root) == 130
    assert "the same command goes on from there" in capsys.readouterr().err
    monkeypatch.setattr(np, "load", load)
    assert pack(root) == 0
    assert "5 videos, 2 of them by an earlier attempt" in capsys.readouterr().out
