# SPDX-License-Identifier: Apache-2.0
"""``python -m asl_fast.export``: its files are what they say, load back, and refuse what does not fit."""

from __future__ import annotations

import contextlib
import io
import json
import re
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asl_fast.data.features.extraction import Extraction
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.detect import main as detect_main
from asl_fast.detection.trained import load_trained
from asl_fast.export import main
from asl_fast.exporting import check
from asl_fast.exporting.card import model_card
from asl_fast.exporting.deployed import INPUTS, OUTPUTS, example_inputs
from asl_fast.exporting.run_files import deployed_detector, write_config
from asl_fast.models.config import DetectorConfig
from asl_fast.models.detector import ActionDetector
from asl_fast.training.config import TrainConfig
from examples.deploy import alone
from tests.training.tiny import finished_run, tiny_bundle

pytest.importorskip("safetensors", reason="needs the export extra")
pytest.importorskip("onnxruntime", reason="needs the export extra")
if not hasattr(torch.compiler, "is_exporting"):
    pytest.skip("exporting a graph needs PyTorch 2.7 or newer", allow_module_level=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("run"), tiny_bundle()).path


@pytest.fixture(scope="module")
def said() -> io.StringIO:
    """Take what the command prints when it makes `exported`."""
    return io.StringIO()


@pytest.fixture(scope="module")
def exported(run: Path, said: io.StringIO, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "exported"
    with contextlib.redirect_stdout(said):
        assert main(["--run", str(run), "--output", str(folder)]) == 0
    return folder


def test_writes_every_format_with_its_description(exported: Path) -> None:
    names = sorted(path.name for path in exported.iterdir())
    assert names == ["README.md", "config.json", "model.onnx", "model.pt2", "model.safetensors"]
    config = json.loads((exported / "config.json").read_text())
    assert config["config"]["output"] is None and config["dataset"]["class_names"] == ["class 0", "class 1"]


def test_no_place_of_this_machine_is_told(run: Path, tmp_path: Path) -> None:
    trained, here = load_trained(run), str(tmp_path)
    # Whatever has no value unless it is given names a place.
    places = {each.name: each.default for each in fields(TrainConfig) if each.default in (None, ())}
    config = replace(trained.config, **{name: (here,) if old == () else here for name, old in places.items()})
    how = Extraction("videomae", "0" * 64, "none", weights=str(tmp_path / "weights"))
    dataset = trained.dataset | {"manifest": asdict(FeatureManifest("made", 6, 4, extraction=how))}
    content = write_config(replace(trained, config=config, dataset=dataset), tmp_path / "out")
    assert here not in (tmp_path / "out" / "config.json").read_text()
    assert content["dataset"]["manifest"]["extraction"]["weights"] == "weights"


def test_the_card_s_code_runs(exported: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece of Python on the card, with inputs as the card describes them, finds what the detector does."""
    monkeypatch.chdir(exported)
    inputs = example_inputs(deployed_detector(load_trained(run)), 2, 50)
    with torch.no_grad():
        wanted = deployed_detector(load_trained(run))(*inputs)
    card = (exported / "README.md").read_text()
    pieces = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(pieces) == 4
    kept = 0
    for piece in pieces:
        names: dict[str, Any] = dict(zip(INPUTS, inputs, strict=True)) | dict(zip(OUTPUTS, wanted, strict=True))
        if "onnxruntime" in piece:
            names |= {name: tensor.numpy() for name, tensor in zip(INPUTS, inputs, strict=True)}
        exec(piece.replace("FOLDER_OR_HUB_ID", str(exported)), names)
        for name, expected in zip(OUTPUTS, wanted, strict=True):
            torch.testing.assert_close(torch.as_tensor(names[name]), expected, rtol=1e-5, atol=1e-5)
        kept += len(names["kept"].scores) if "kept" in names else 0
    assert kept > 0


def test_files_are_checked_from_short_to_65536_steps(exported: Path, said: io.StringIO) -> None:
    rows = [line.split() for line in said.getvalue().splitlines() if re.match(r"model\.(pt2|onnx) ", line)]
    shapes = [(int(batch), int(length)) for _, batch, length, *_ in rows]
    assert shapes == 2 * [(batch, length) for length in (64, 193, 1000, 2304, 65536) for batch in (1, 3)]
    assert all(float(worst) <= 1e-4 for row in rows for worst in row[3:])


def test_what_does_not_fit_into_memory_is_checked_at_less() -> None:
    small = DetectorConfig(feature_dim=6, num_classes=3, width=16, num_heads=2, attention_windows=(5,))
    large = replace(small, feature_dim=2048, width=512)
    assert [check.fitting(config, 65536, 3) for config in (small, large)] == [65536, 16384]
    assert 2304 < check.fitting(replace(large, attention_windows=(0,)), 65536, 3) < 16384


def test_the_example_runs_the_files_alone(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "new.npy", np.random.default_rng(0).standard_normal((60, 6)).astype(np.float32))
    found = str(tmp_path / "found.json")
    words = ["--run", str(exported), "--features", str(tmp_path / "new.npy"), "--output", found]
    assert detect_main(words) == 0
    for name in ("model.onnx", "model.pt2"):
        assert alone.main([str(exported / name), str(tmp_path / "new.npy"), found]) == 0
        assert f"{name}: " in capsys.readouterr().out


def test_weights_come_back_the_same(exported: Path, run: Path) -> None:
    original, again = load_trained(run).detector, ActionDetector.from_pretrained(exported)
    assert not again.training and again.config == original.config
    for name, value in original.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_detect_takes_the_folder_for_a_run(exported: Path, run: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "new.npy", np.random.default_rng(0).standard_normal((60, 6)).astype(np.float32))
    found = []
    for source in (run, exported):
        output = tmp_path / f"{len(found)}.json"
        words = ["--run", str(source), "--features", str(tmp_path / "new.npy"), "--output", str(output)]
        assert detect_main([*words, "--fps", "1"]) == 0
        found.append(json.loads(output.read_text())["results"])
    assert found[0] == found[1] and found[0]["new"]


def test_a_file_that_differs_is_reported(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "TOLERANCE", -1.0)
        assert main(["--run", str(run), "--to", "torch-export", "--output", str(tmp_path / "out")]) == 1
    assert "model.pt2 differs from the detector" in capsys.readouterr().err


def test_what_cannot_be_exported(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken = tmp_path / "taken"
    taken.write_text("")
    for words, message in (
        (["--run", str(run), "--output", str(taken)], "is a file; name a folder"),
        (["--run", str(tmp_path / "none"), "--output", str(tmp_path / "x")], "does not exist"),
    ):
        assert main(words) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_files_of_something_else_are_not_overwritten(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither a file with a name of ours, nor one among a folder of features."""
    for name, content in {"README.md": "mine", "model.safetensors": "", "config.json": "{}", "v00.npy": ""}.items():
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        (folder / name).write_text(content)
        assert main(["--run", str(run), "--to", "safetensors", "--output", str(folder)]) == 2
        assert f"holds 1 file of something else, for example '{name}'" in capsys.readouterr().err
        assert (folder / name).read_text() == content and len(list(folder.iterdir())) == 1


def test_an_earlier_export_is_replaced_even_one_that_was_interrupted(run: Path, tmp_path: Path) -> None:
    (tmp_path / ".gitattributes").write_text("hidden files stay")
    words = ["--run", str(run), "--to", "safetensors", "--output", str(tmp_path)]
    assert main(words) == main(words) == 0
    (tmp_path / "README.md").unlink()
    assert main(words) == 0
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [".gitattributes", "README.md", "config.json", "model.safetensors"]


def test_names_of_anybody_show_as_they_are_on_the_card() -> None:
    dataset = {"name": "a\x1b[31m", "class_names": ["\x1b[2Jrun", "<b>", "\u202ejump"]}
    grid = {"stride_frame": 4, "window_frame": 4, "offset_frame": None, "fps": 25}
    model = {"width": 8, "num_levels": 2, "feature_dim": 6, "num_classes": 3}
    config = {
        "model": model,
        "inference": {"nms_sigma": 0.5, "max_segments": 9},
        "epochs": 1,
        "warmup_epochs": 0,
    }
    card = model_card(config, dataset | {"grid": grid, "transform": None, "synthetic": False}, ("onnx",), None)
    assert card.replace("\n", "").isprintable()
    assert "trained on a\\\\x1b\\[31m" in card
    assert card.endswith("0. \\\\x1b\\[2Jrun\n1. \\<b\\>\n2. \\\\u202ejump\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / "config.json").write_text("{}"), "lacks 'config.model'"),
        (lambda folder: _cut(folder / "model.safetensors"), "truncated or not a safetensors file"),
        (lambda folder: _flip(folder / "model.safetensors"), "its weights have another digest than what was written"),
        (lambda folder: _change(folder / "config.json", width=32), "has shape"),
        (lambda folder: _change(folder / "config.json", num_levels=3), "lacks"),
    ],
)
def test_damaged_folders_are_refused(exported: Path, tmp_path: Path, damage: Any, message: str) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((exported / name).read_bytes())
    damage(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        ActionDetector.from_pretrained(tmp_path)


def test_what_is_neither_folder_nor_id(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="neither a folder nor the id"):
        ActionDetector.from_pretrained(tmp_path / "none")


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _change(path: Path, **changes: int) -> None:
    content = json.loads(path.read_text())
    content["config"]["model"] |= changes
    path.write_text(json.dumps(content))
