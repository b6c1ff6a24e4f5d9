# SPDX-License-Identifier: Apache-2.0
"""Runs that start from weights: which are taken, what starts anew, and what does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from asl_fast.data.bundle import DatasetBundle
from asl_fast.detection.trained import load_trained
from asl_fast.exporting.run_files import write_config, write_files
from asl_fast.models.convert_actionformer import convert_config
from asl_fast.models.detector import ActionDetector
from asl_fast.serialization import read_config
from asl_fast.train import main
from asl_fast.training.checkpoint import CheckpointError, load_checkpoint
from asl_fast.training.config import TrainConfig
from asl_fast.training.data import describe_dataset
from asl_fast.training.initial import CLASSIFIER, Start, architecture, fit, read_initial, starting_weights
from asl_fast.training.loop import train
from asl_fast.training.request import parse
from asl_fast.training.run_folder import RunFolder
from tests.models.published import as_published, write_published
from tests.own_recordings import write_recordings
from tests.training.tiny import CPU, finished_run, tiny_bundle, tiny_config

NAMES = ("class 0", "class 1")


@pytest.fixture(scope="module")
def bundle() -> DatasetBundle:
    return tiny_bundle()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, bundle: DatasetBundle) -> RunFolder:
    return finished_run(tmp_path_factory.mktemp("run"), bundle)


def start_from(path: Path, names: Sequence[str] = NAMES, **model: object) -> Start:
    config = tiny_config()
    model = {"num_classes": len(names), **model}
    config = replace(config, init_from=str(path), model=replace(config.model, **model))  # type: ignore[arg-type]
    found = starting_weights(config, names)
    assert found is not None
    return found


def test_folder_checkpoint_and_export_are_the_same_weights(run: RunFolder, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors")
    assert safetensors is not None
    trained = load_trained(run.path)
    from asl_fast.exporting.deployed import DeployedDetector

    deployed = DeployedDetector(trained.detector, min_length_grid=0.05)
    list(write_files(trained, deployed, tmp_path, ["safetensors"]))
    write_config(trained, tmp_path)
    for path in (run.path, run.last, tmp_path):
        found = start_from(path)
        assert "with what classifies its 2 classes" in found.line
        for name, value in trained.detector.state_dict().items():
            assert torch.equal(found.weights[name], value), name


def test_other_classes_start_anew(run: RunFolder) -> None:
    for names, words in (
        (("class 0", "jump"), "jump was not among its classes"),
        (("class 1", "class 0"), "its classes are in another order"),
        (("class 0", "class 1", "jump"), "2 classes there, 3 here"),
    ):
        found = start_from(run.path, names)
        assert f"but what classifies starts anew: {words}" in found.line
        assert not any(name.startswith(CLASSIFIER) for name in found.weights)
        assert len(found.weights) > 20


def test_training_starts_there_and_averages_from_there(run: RunFolder, bundle: DatasetBundle, tmp_path: Path) -> None:
    start = start_from(run.path)
    folder = RunFolder(tmp_path / "tuned")
    folder.create()
    config = tiny_config(epochs=1, warmup_epochs=0)
    config = replace(config, optimizer=replace(config.optimizer, lr=1e-12, min_lr=0.0))
    result = train(config, bundle, folder, CPU, dataset_record=describe_dataset(bundle), start=start)
    for module in (result.state.detector, result.state.average.module):
        for name, value in module.state_dict().items():
            torch.testing.assert_close(value, start.weights[name], atol=1e-6, rtol=0)
    scratch = ActionDetector(config.model).state_dict()
    assert any(not torch.equal(scratch[name], value) for name, value in start.weights.items())


def test_what_does_not_fit_is_named(run: RunFolder) -> None:
    with pytest.raises(CheckpointError, match=r"was trained on features of 6 channels, tiny has 9: give the features"):
        start_from(run.path, feature_dim=9)
    with pytest.raises(
        CheckpointError, match=r"backbone\.\S+ has shape \(16, .*\), but this run makes it \(32, .*--model"
    ):
        start_from(run.path, width=32)
    with pytest.raises(CheckpointError, match=r"has no backbone\.\S+, which this run has; leave the options --model"):
        start_from(run.path, num_levels=3)
    with pytest.raises(CheckpointError, match=r"has backbone\.\S+, which this run does not have"):
        start_from(run.path, stem_blocks=1)


def test_where_nothing_is_or_the_option_is_missing(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"--init-from .*none does not exist"):
        read_initial(tmp_path / "none", None)
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        read_initial(tmp_path, None)
    with pytest.raises(
        ValueError, match="--af-config belongs to a checkpoint of ActionFormer's: name that with --init"
    ):
        parse(["--dataset", "multithumos", "--af-config", "c.yaml"])
    pytest.importorskip("yaml", reason="needs pyyaml")
    weights, config = write_published(tmp_path)
    with pytest.raises(CheckpointError, match=r"e\.pth\.tar is a checkpoint of ActionFormer: name its YAML file, --af"):
        read_initial(weights, None)
    with pytest.raises(ValueError, match="is a folder: with --af-config, name a checkpoint file in it"):
        read_initial(run.path, config)
    with pytest.raises(ValueError, match="is a checkpoint of asl_fast, not of ActionFormer"):
        read_initial(run.last, config)


def test_architecture_of_a_file_whatever_its_data(tmp_path: Path, run: RunFolder) -> None:
    pytest.importorskip("yaml", reason="needs pyyaml")
    weights, config = write_published(tmp_path)
    _, keywords, _ = as_published()
    expected = replace(convert_config(keywords), feature_dim=0, num_classes=0)
    assert architecture(weights, config) == expected
    assert architecture(run.path, None) == replace(tiny_config().model, feature_dim=0, num_classes=0)
    words = ["--dataset", "multithumos", "--init-from", str(weights), "--af-config", str(config), "--output", "new"]
    asked = parse([*words, "--model.dropout", "0.25"]).config
    assert asked.model == replace(expected, dropout=0.25)
    assert (asked.init_from, asked.af_config) == (str(weights), str(config))


def test_from_actionformers_files_by_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("yaml", reason="needs pyyaml")
    monkeypatch.chdir(tmp_path)
    write_recordings(tmp_path, number=6, dim=10)
    write_published(tmp_path)
    words = ["--annotations", "mine.json", "--features", "features", "--preset", "smoke", "--epochs", "1"]
    words += ["--warmup-epochs", "0", "--device", "cpu", "--threads", "1"]
    assert main([*words, "--init-from", "e.pth.tar", "--af-config", "c.yaml"]) == 0
    out = capsys.readouterr().out
    assert "starts from e.pth.tar, with what classifies its 3 classes, taken to be these in this order" in out
    assert "pyramid levels" not in out and "batch " in out
    folder = Path("runs/mine-001")
    config = read_config(TrainConfig, folder / "config.json")
    assert (config.model.mask_norms, config.model.offset_activation, config.model.width) == (False, "relu", 8)
    first = load_checkpoint(RunFolder(folder).last)["average"]["module"]
    assert main([*words, "--init-from", str(folder)]) == 0
    assert "  starts from runs/mine-001/" in capsys.readouterr().out
    Path("e.pth.tar").unlink()
    assert main(["--resume", "--output", str(folder), "--epochs", "2"]) == 0  # which reads its own checkpoint alone
    assert "starts from" not in capsys.readouterr().out
    assert load_checkpoint(RunFolder(folder).last)["average"]["module"].keys() == first.keys()
    assert fit(read_initial(folder, None), read_config(TrainConfig, folder / "config.json"), ("jump", "run", "throw"))
