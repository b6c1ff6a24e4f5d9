# SPDX-License-Identifier: Apache-2.0
"""``detect --actionformer``: what ActionFormer finds, from its files as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from asl_fast.detect import main
from asl_fast.detection.published import PublishedDetector, load_published
from asl_fast.detection.recordings import open_recordings
from asl_fast.detection.run import detect_recordings
from asl_fast.models.config import DetectorConfig, InferenceConfig
from asl_fast.models.convert_actionformer import padded_length
from asl_fast.models.detector import ActionDetector
from asl_fast.models.postprocess import candidates, joined
from asl_fast.models.windows import windowed_candidates
from tests.models.published import as_published, write_published
from tests.models.test_windows import in_order
from tests.own_recordings import CLASSES, write_recordings
from tests.shared import golden_arrays, shared_file

yaml = pytest.importorskip("yaml", reason="needs pyyaml")

TIMING = {"feat_stride": 8, "num_frames": 16, "default_fps": 25.0, "file_prefix": "v_", "file_ext": ".npy"}


def failure(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    write_recordings(tmp_path, number=2, dim=10)
    write_published(tmp_path, json_file="./mine.json", **TIMING)
    return ["--actionformer", "e.pth.tar", "c.yaml", "--features", "features", "--output", "found.json"]


def test_outputs_near_the_end_are_actionformers_whatever_its_padding() -> None:
    arrays = golden_arrays("small_forward_local9")
    config = json.loads(str(arrays["meta"]))["config"]
    state, _, _ = as_published()
    detector = ActionDetector.from_actionformer(state, config).eval()
    length = int(arrays["mask"][1].sum())
    padded = padded_length(detector.config, length)
    assert length < padded < arrays["feats"].shape[2]
    features = torch.from_numpy(arrays["feats"][1:2, :, :padded]).transpose(1, 2)
    with torch.no_grad():
        out = detector(features, torch.arange(padded)[None] < length)
    for level, mask in enumerate(out.masks):
        number = int(mask.sum())
        for name, found in (("cls_logits", out.logits), ("offsets", out.offsets)):
            expected = torch.from_numpy(arrays[f"{name}_{level}"])[1, :number]
            torch.testing.assert_close(found[level][0, :number], expected, atol=1e-4, rtol=0)


IMPORTED = {
    "windowed": {},
    "wide kernels": {"kernel_size": 5},
    "pyramid": {"fpn": True},
    "convolutions": {"backbone": "conv"},
    "absolute positions": {"positions": "absolute"},
}


@pytest.mark.parametrize("kind", IMPORTED)
def test_long_recordings_end_as_in_one_pass_with_actionformers_padding(kind: str) -> None:
    torch.manual_seed(0)
    config = DetectorConfig(
        **{"feature_dim": 6, "num_classes": 3, "width": 16, "num_levels": 3, "num_heads": 2, "mask_norms": False},
        **{"attention_windows": (5,), "max_length_grid": 64, **IMPORTED[kind]},
    )
    detector = ActionDetector(config).eval()
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    everything = InferenceConfig(score_threshold=0.0, min_length_grid=-1.0, candidates_per_level=10**6)
    for length in (30, 61, 64, 129, 150, 160):
        features = torch.randn(length, 6)
        whole = 64 if length <= 64 else -(-length // 16) * 16  # ActionFormer's: 16 is what the coarsest level asks for
        mask = (torch.arange(whole) < length)[None]
        with torch.no_grad():
            output = detector(F.pad(features, (0, 0, 0, whole - length))[None], mask)
        expected = in_order(joined(candidates(output, everything)[0]))
        padded = padded_length(config, length)
        assert length <= padded <= whole
        found = windowed_candidates(
            detector, lambda a, b, x=features: x[a:b], length, everything, core_grid=16, padded_steps=padded
        )
        torch.testing.assert_close(in_order(joined(found)), expected, atol=2e-4, rtol=1e-4)


def test_finds_what_actionformer_finds(tmp_path: Path) -> None:
    data = golden_arrays("postprocess_mc_soft")
    about = json.loads(str(data["config"]))
    forward = shared_file(f"golden/actionformer_forward_{about['variant']}.pt")
    config = json.loads(forward.with_suffix(".json").read_text())["config"]
    state = {f"module.{name}": value for name, value in torch.load(forward, weights_only=True).items()}
    torch.save({"epoch": 1, "state_dict_ema": state}, tmp_path / "e.pth.tar")
    config |= {"dataset": {name: config.pop(name) for name in ("input_dim", "num_classes", "max_seq_len")}}
    config["dataset"] |= {"feat_stride": int(data["feat_stride"]), "num_frames": int(data["feat_num_frames"])}
    sections = {"dataset": config.pop("dataset"), "test_cfg": about["test_cfg"], "train_cfg": config.pop("train_cfg")}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({**sections, "model": config}))
    fps, duration_sec = float(data["fps"]), {"video": float(data["duration"])}
    trained, _ = load_published(tmp_path / "e.pth.tar", tmp_path / "c.yaml", fps=fps)
    np.save(tmp_path / "video.npy", data["feats"].T)
    recordings = open_recordings([tmp_path / "video.npy"], trained.dataset, fps=fps, durations_sec=duration_sec)
    found = detect_recordings(trained, recordings).detections["video"]
    # ActionFormer lists what lies beyond the end of the recording, too.
    left = data["segments"][:, 1] > data["segments"][:, 0]
    assert 0 < left.sum() < len(left)
    torch.testing.assert_close(found.scores, torch.from_numpy(data["scores"][left]), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.segments, torch.from_numpy(data["segments"][left]), rtol=1e-4, atol=1e-4)


def test_classes_and_rates_come_from_the_annotations_that_the_yaml_names(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--min-score", "0"]) == 0
    assert "warning" not in capsys.readouterr().err
    results = json.loads(Path("found.json").read_text())["results"]
    assert set(results) == {"clip00", "clip01"}
    assert {each["label"] for found in results.values() for each in found} <= set(CLASSES)
    assert all(found for found in results.values())


def test_classes_by_a_file_or_by_numbers(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.json").rename("elsewhere.json")
    assert main(words) == 0
    assert "the classes have no names, as their annotations are not there: --classes FILE" in capsys.readouterr().err
    labels = {
        each["label"] for found in json.loads(Path("found.json").read_text())["results"].values() for each in found
    }
    assert labels <= {"class 0", "class 1", "class 2"}
    Path("names.txt").write_text("leap\nrun\n\nthrow\n")
    assert main([*words, "--classes", "names.txt"]) == 0
    Path("names.txt").write_text("leap\n")
    assert "names.txt names 1 class, the model has 3" in failure(capsys, *words, "--classes", "names.txt")


def test_the_rate_must_be_known(tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    write_published(tmp_path, **TIMING | {"default_fps": None})
    assert "c.yaml has no dataset.default_fps, and no annotations say" in failure(capsys, *words)
    assert main([*words, "--classes", "mine.json"]) == 0
    by_annotations = Path("found.json").read_text()
    assert main([*words, "--fps", "25"]) == 0
    ours = json.loads(Path("found.json").read_text())["results"]["clip00"][0]["segment"]
    assert json.loads(by_annotations)["results"]["clip00"][0]["segment"] == pytest.approx(ours)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ({"downsample_rate": 2}, r"c.yaml: dataset.downsample_rate is 2"),
        ({"num_frames": -3}, "c.yaml: dataset: feature manifest 'c': window_frame must be positive, got -3"),
    ],
)
def test_settings_without_an_equivalent_are_named(
    dataset: dict[str, Any], message: str, tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write_published(tmp_path, **TIMING | dataset)
    assert message in failure(capsys, *words)


def test_a_wrong_post_processing_is_named(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    content = yaml.safe_load(Path("c.yaml").read_text()) | {"test_cfg": {"nms_sigma": -1.0}}
    Path("c.yaml").write_text(yaml.safe_dump(content))
    assert "c.yaml: test_cfg: " in (line := failure(capsys, *words)) and "nms_sigma" in line
    content["test_cfg"] = {"ext_score_file": "scores.pkl"}
    Path("c.yaml").write_text(yaml.safe_dump(content))
    assert main(words) == 0
    assert "the scores of ext_score_file are not used" in capsys.readouterr().err


def test_one_detector_is_named(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "name one detector: --run RUN" in failure(capsys, *words[3:])
    assert "name one detector: --run RUN" in failure(capsys, *words, "--run", "runs/x")
    assert "--classes belongs to --actionformer" in failure(capsys, *words[3:], "--run", "x", "--classes", "names.txt")


def test_its_checkpoint_given_as_a_run_is_told_the_option(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    line = failure(capsys, "--run", "e.pth.tar", *words[3:])
    assert "e.pth.tar is a checkpoint of ActionFormer" in line and "--actionformer e.pth.tar YAML" in line
    assert len(line) < 300
    before = Path("e.pth.tar").read_bytes()
    assert "--output e.pth.tar" in failure(capsys, *words[:-1], "e.pth.tar")
    assert Path("e.pth.tar").read_bytes() == before


def test_recordings_are_looked_at_alone(tmp_path: Path, words: list[str]) -> None:
    trained, _ = load_published(Path("e.pth.tar"), Path("c.yaml"))
    assert isinstance(trained, PublishedDetector)
    recordings = open_recordings([Path("features")], trained.dataset)
    samples = [recordings.open(name).sample() for name in recordings.names]
    together = dict((sample.video_id, found) for sample, found in trained.detect(samples, batch_size=2))
    for sample in samples:
        ((_, alone),) = trained.detect([sample])
        assert torch.equal(alone.scores, together[sample.video_id].scores)
    state, keywords, _ = as_published()
    expected = ActionDetector.from_actionformer(state, keywords).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in trained.detector.state_dict().items())
