# SPDX-License-Identifier: Apache-2.0
"""Checkpoints and the run folder: what a crash, a full disk or a wrong file leaves behind."""

from __future__ import annotations

import os
import pickle
import random
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asl_fast.models.config import InferenceConfig
from asl_fast.models.content import digest
from asl_fast.serialization import to_dict
from asl_fast.training.checkpoint import (
    CheckpointError,
    check_same_config,
    load_checkpoint,
    rng_state,
    save_checkpoint,
    set_rng_state,
)
from asl_fast.training.config import EvaluationConfig
from asl_fast.training.metrics_log import MetricsLog, read_metrics
from asl_fast.training.run_folder import RunFolder, RunFolderError
from tests.training.tiny import tiny_config


def test_checkpoint_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"weights": torch.arange(3), "nested": {"a": [1, 2.5, None, "x"]}})
    content = load_checkpoint(path)
    assert torch.equal(content["weights"], torch.arange(3))
    assert content["nested"] == {"a": [1, 2.5, None, "x"]}
    assert os.listdir(tmp_path) == ["last.pt"]


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.99])
def test_truncated_checkpoint_is_named(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"weights": torch.randn(1000)})
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    with pytest.raises(CheckpointError, match=r"last\.pt .* is truncated or not a checkpoint"):
        load_checkpoint(path)


def a_checkpoint() -> dict[str, Any]:
    """Tensors of several kinds and sizes, one of them over several pages, and values beside them."""
    generator = torch.Generator().manual_seed(0)
    return {
        "detector": {"weight": torch.randn(64, 40, generator=generator), "bias": torch.zeros(5)},
        "optimizer": {"state": {0: {"step": torch.tensor(7.0), "exp_avg": torch.randn(9, generator=generator)}}},
        "rng": [rng_state()],
        "config": {"seed": 3, "lr": 1e-3, "data_root": None, "compile": False},
        "epoch": 4,
    }


def assert_refused_or_harmless(path: Path, content: dict[str, Any]) -> bool:
    """Check that the file is refused by name, or gives what was written; True where it is refused."""
    try:
        found = load_checkpoint(path)
    except CheckpointError as error:
        assert str(error).startswith(str(path))
        return True
    assert digest(found) == digest({"format": 1, **content})
    return False


@pytest.mark.parametrize("with_digest", [True, False])
def test_flipped_bits_are_refused_or_harmless(tmp_path: Path, with_digest: bool) -> None:
    path, content = tmp_path / "last.pt", a_checkpoint()
    if with_digest:
        save_checkpoint(path, content)
    else:
        torch.save({"format": 1, **content}, path)
    assert not assert_refused_or_harmless(path, content)
    whole = path.read_bytes()
    generator = random.Random(1)
    refused = 0
    for _ in range(200):
        damaged = bytearray(whole)
        place = generator.randrange(len(whole))
        damaged[place] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        refused += assert_refused_or_harmless(path, content)
    # What is not refused lies between the records of the archive.
    assert refused > 150


def test_zeroed_pages_are_refused(tmp_path: Path) -> None:
    path, content = tmp_path / "last.pt", a_checkpoint()
    save_checkpoint(path, content)
    whole = path.read_bytes()
    for page in range(len(whole) // 4096):
        damaged = bytearray(whole)
        damaged[4096 * page : 4096 * (page + 1)] = bytes(4096)
        path.write_bytes(damaged)
        assert assert_refused_or_harmless(path, content), page


def test_what_was_changed_and_saved_again_is_refused(tmp_path: Path) -> None:
    """The archive is in order then, but not the content."""
    path, content = tmp_path / "last.pt", a_checkpoint()
    save_checkpoint(path, content)
    saved = torch.load(path, weights_only=True)
    saved["detector"]["weight"][3, 4] += 1
    torch.save(saved, path)
    with pytest.raises(CheckpointError, match=r"last\.pt is damaged: its content has another digest"):
        load_checkpoint(path)


def test_a_tensor_that_promises_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    torch.save({"format": 1, "detector": {"weight": torch.zeros(1).expand(1 << 20, 1 << 14)}}, path)
    with pytest.raises(CheckpointError, match=r"detector\.weight has shape \(1048576, 16384\), more than the file"):
        load_checkpoint(path)


def test_the_digest_tells_contents_apart() -> None:
    contents: list[Any] = [
        {"a": torch.zeros(2)},
        {"a": torch.zeros(2, 1)},
        {"a": torch.zeros(2, dtype=torch.float64)},
        {"b": torch.zeros(2)},
        {"a": torch.tensor([0.0, -0.0])},
        {"a": [torch.zeros(2)]},
        {"a": None},
        {"a": 1},
        {"a": 1.0},
        {"a": True},
        {"a": "1"},
        {1: "a"},
        {"1": "a"},
        {"a": {}},
        {"a": []},
    ]
    assert len({digest(content) for content in contents}) == len(contents)
    assert digest({"a": torch.arange(6).reshape(2, 3).T}) == digest({"a": torch.tensor([[0, 3], [1, 4], [2, 5]])})
    with pytest.raises(TypeError, match=r"a\[1\] is a set"):
        digest({"a": [1, set()]})


def test_other_files_are_no_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save({"state_dict": {}}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint of this version of asl_fast"):
        load_checkpoint(path)
    torch.save(torch.zeros(3), path)
    with pytest.raises(CheckpointError, match="Tensor"):
        load_checkpoint(path)
    with pytest.raises(FileNotFoundError, match="stopped before its first epoch"):
        load_checkpoint(tmp_path / "missing.pt")


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    path = tmp_path / "evil.pt"
    torch.save({"format": 1, "evil": Evil()}, path)
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
    path.write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
    assert not (tmp_path / "ran").exists()


def test_another_configuration_is_named_field_by_field() -> None:
    config = tiny_config()
    content = {"config": to_dict(config)}
    check_same_config(content, config, Path("last.pt"))
    check_same_config(content, replace(config, device="cuda", threads=4, output="elsewhere"), Path("last.pt"))
    elsewhere = replace(
        config, inference=InferenceConfig(min_score=0.2), evaluation=EvaluationConfig(every=1), epochs=9
    )
    check_same_config(content, elsewhere, Path("last.pt"))
    other = replace(config, epochs=1, model=replace(config.model, width=32))
    with pytest.raises(CheckpointError, match=r"last.pt .*: epochs 2 there, 1 now; model.width 16 there, 32 now"):
        check_same_config(content, other, Path("last.pt"))


def test_random_generators_are_restored(tmp_path: Path) -> None:
    random.gauss(0, 1)  # leaves a second value waiting, which is part of the state
    np.random.standard_normal()
    save_checkpoint(tmp_path / "rng.pt", {"rng": rng_state()})

    def draw() -> tuple[float, float, float, list[float]]:
        return random.gauss(0, 1), random.random(), float(np.random.standard_normal()), torch.rand(3).tolist()

    expected = draw()
    assert draw() != expected
    set_rng_state(load_checkpoint(tmp_path / "rng.pt")["rng"])
    assert draw() == expected


FULL_DISK = """
import resource, signal, sys, torch
from pathlib import Path
from asl_fast.training.checkpoint import save_checkpoint
path = Path(sys.argv[1])
save_checkpoint(path, {"weights": torch.ones(10)})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_checkpoint(path, {"weights": torch.zeros(1_000_000)})
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs a limit on file sizes")
def test_a_disk_that_fills_up_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert f"cannot write {path}" in done.stdout
    assert "what it held before is intact; free some space or choose another folder" in done.stdout
    assert torch.equal(load_checkpoint(path)["weights"], torch.ones(10))
    assert os.listdir(tmp_path) == ["last.pt"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=r"cannot create run folder .*file/run: .*; choose another --output"):
        RunFolder(tmp_path / "file" / "run").create()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    folder.checkpoints.chmod(0o500)
    with pytest.raises(PermissionError, match=r"cannot write .*Permission denied"):
        folder.create()


def test_too_little_space_is_said_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    assert os.listdir(folder.checkpoints) == []
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2_000_000))
    folder.check_space(500_000)
    with pytest.raises(RunFolderError, match=r"2 MB free on its disk, but checkpoints need up to 3 MB"):
        folder.check_space(1_000_000)


def test_metrics_of_a_killed_epoch_are_written_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    log.append([{"kind": "step", "epoch": 0, "step": 0, "total": 1.0}])
    log.append([{"kind": "step", "epoch": 1, "step": 1, "total": 2.0}])
    with open(path, "a") as file:
        file.write('{"kind": "step", "epo')  # the process died here
    assert [record["epoch"] for record in read_metrics(path)] == [0, 1]
    log = MetricsLog(path, first_epoch=1)
    log.append([{"kind": "step", "epoch": 1, "step": 1, "total": 3.0}])
    assert [(record["epoch"], record["total"]) for record in read_metrics(path)] == [(0, 1.0), (1, 3.0)]


@pytest.mark.parametrize("line", ["{'kind'", "[1]", '{"kind": "step"}', '{"epoch": "0"}', "\\xff"])
def test_an_edited_metrics_file_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "metrics.jsonl"
    MetricsLog(path).append([{"kind": "step", "epoch": 0, "step": 0}])
    good = path.read_bytes()
    path.write_bytes(good + line.encode() + b"\n" + good)
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2: no record of this run; remove the line"):
        MetricsLog(path, first_epoch=1)
    assert path.read_bytes().startswith(good)
