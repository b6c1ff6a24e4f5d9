# SPDX-License-Identifier: Apache-2.0
"""What the command line of training makes of its words."""

from __future__ import annotations

from pathlib import Path

import pytest

from asl_fast.files import write_json
from asl_fast.serialization import to_dict
from asl_fast.training.checkpoint import CheckpointError
from asl_fast.training.presets import preset
from asl_fast.training.request import parse
from asl_fast.training.run_folder import RunFolder, RunFolderError


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def start_run(*words: str) -> RunFolder:
    """Make a run folder as training leaves it before its first epoch ends."""
    request = parse(words)
    request.folder.create()
    write_json(request.folder.config, to_dict(request.config))
    return request.folder


def test_bare_run_is_a_reduced_twin() -> None:
    request = parse([])
    assert (request.config.dataset, request.size) == ("multithumos", "reduced")
    assert request.config.data.synthetic_scale == "reduced"


def test_data_root_means_the_full_preset() -> None:
    request = parse(["--dataset", "thumos14", "--data-root", "somewhere"])
    assert request.size == "full"
    assert request.config.model == preset("thumos14").model
    assert request.config.data_root == "somewhere"


@pytest.mark.parametrize("style", ["--model.max-length-grid=77", "--model.max_length_grid=77"])
def test_any_field_can_be_set(style: str) -> None:
    words = ["--dataset=epic100-verb", "--seed", "3", "--epochs", "4", "--optimizer.lr", "1e-3", "--model.width", "64"]
    config = parse([*words, style, "--loss.no-contrastive", "--model.attention-windows", "9", "0"]).config
    assert (config.seed, config.epochs, config.optimizer.lr, config.model.width) == (3, 4, 1e-3, 64)
    assert config.model.max_length_grid == 77
    assert not config.loss.contrastive
    assert config.model.attention_windows == (9, 0)


def test_size_of_the_twin_has_a_short_name() -> None:
    assert parse(["--synthetic-scale", "0.25"]).config.data.synthetic_scale == 0.25
    assert parse(["--synthetic-scale", "full"]).config.data.synthetic_scale == "full"


def test_variant_sets_the_loss() -> None:
    loss = parse(["--variant", "constant"]).config.loss
    assert loss.constant_weights == (1.5, 2.3)
    assert not (loss.class_level or loss.instance_level or loss.contrastive)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dataset", "thumos-14"], "unknown data set 'thumos-14'; did you mean 'thumos14'?"),
        (["--dataset", "HAPT"], "did you mean 'hapt'?"),
        (["--dataset", "xyz"], "known are thumos14, multithumos"),
        (["--preset", "smok"], "unknown preset 'smok'; did you mean 'smoke'?"),
        (["--variant", "als"], "unknown variant 'als'; did you mean 'asl'?"),
        (["--batch-size", "0"], "batch_size must be at least 1"),
    ],
)
def test_wrong_names_and_values(words: list[str], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(words)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (["--model.widht", "3"], "--model.width"),
        (["--sed", "3"], "--seed"),
        (["--optimiser.lr", "3"], "--optimizer.lr"),
        (["--model.backbone", "convolution"], "'transformer', 'conv'"),
        (["--epochs", "ten"], "--epochs"),
    ],
)
def test_unknown_options_name_the_nearest(words: list[str], nearest: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(words)
    assert caught.value.code == 2
    assert nearest in capsys.readouterr().err


def test_post_processing_without_effect_is_refused_unless_a_preset_holds_it() -> None:
    with pytest.raises(ValueError, match=r"--inference\.nms-sigma has no effect beside --inference\.nms hard"):
        parse(["--inference.nms", "hard", "--inference.nms-sigma", "0.123"])
    inherited = parse(["--dataset", "thumos14", "--inference.nms", "none"]).config.inference
    assert (inherited.nms, inherited.nms_sigma) == ("none", preset("thumos14").inference.nms_sigma)


def test_runs_are_numbered() -> None:
    assert parse(["--dataset", "charades"]).folder.path == Path("runs/charades-001")
    start_run("--dataset", "charades")
    assert parse(["--dataset", "charades"]).folder.path == Path("runs/charades-002")
    assert parse(["--dataset", "thumos14"]).folder.path == Path("runs/thumos14-001")


def test_a_run_is_not_overwritten_unasked(tmp_path: Path) -> None:
    start_run("--output", "mine")
    with pytest.raises(RunFolderError, match="--resume continues it, --overwrite replaces it"):
        parse(["--output", "mine"])
    assert parse(["--output", "mine", "--overwrite"]).config.output == "mine"


def test_resume_takes_up_the_saved_configuration() -> None:
    start_run("--dataset", "charades", "--output", "mine", "--seed", "7", "--model.width", "96")
    for words in (["--resume", "--output", "mine"], ["--resume", "--output", "mine", "--dataset", "charades"]):
        request = parse([*words, "--threads", "2"])
        assert request.resume
        assert (request.config.seed, request.config.model.width, request.config.threads) == (7, 96, 2)


def test_resume_finds_the_newest_run() -> None:
    start_run("--dataset", "charades")
    start_run("--dataset", "charades", "--seed", "5")
    request = parse(["--resume", "--dataset", "charades"])
    assert (request.folder.path, request.config.seed) == (Path("runs/charades-002"), 5)


def test_resume_before_anything_was_written_starts() -> None:
    request = parse(["--resume", "--dataset", "charades", "--output", "new"])
    assert request.config.dataset == "charades"
    assert not request.folder.holds_a_run
    with pytest.raises(FileNotFoundError, match="nothing to resume: no run of thumos14"):
        parse(["--resume", "--dataset", "thumos14"])


def test_resume_names_what_differs() -> None:
    start_run("--output", "mine", "--seed", "7")
    with pytest.raises(CheckpointError, match=r"seed 7 there, 8 now; optimizer.lr 0.001 there, 0.01 now"):
        parse(["--resume", "--output", "mine", "--seed", "8", "--optimizer.lr", "0.01"])
    with pytest.raises(CheckpointError, match="dataset multithumos there, charades now"):
        parse(["--resume", "--output", "mine", "--dataset", "charades"])
