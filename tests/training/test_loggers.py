# SPDX-License-Identifier: Apache-2.0
"""What callbacks and loggers are told, what becomes of a run whose logger fails, and resuming without duplicates."""

from __future__ import annotations

import csv
import json
import os
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from asl_fast.serialization import from_dict, to_dict
from asl_fast.train import main
from asl_fast.training import loop
from asl_fast.training.callback import UNITS, Callback, Record, RunStart, numbers
from asl_fast.training.checkpoint import load_checkpoint, save_checkpoint
from asl_fast.training.config import EvaluationConfig, TrainConfig
from asl_fast.training.loggers.names import check_installed, parse_loggers
from asl_fast.training.loop import NonFiniteLossError, train
from asl_fast.training.metrics_log import read_metrics
from asl_fast.training.request import parse
from asl_fast.training.run import run
from asl_fast.training.run_folder import RunFolder
from tests.training.tiny import CPU, TINY_OPTIONS, tiny_bundle, tiny_config

NEEDS_MLFLOW = "needs mlflow (400 MB installed), which the development environment leaves out"
NEEDS_WANDB = "needs wandb (100 MB installed), which the development environment leaves out"


class Recorder(Callback):
    """Keeps what it is told."""

    name = "recorder"

    def __init__(self) -> None:
        self.starts: list[RunStart] = []
        self.records: list[Record] = []
        self.ends: list[object] = []

    def started(self, run: RunStart) -> None:
        self.starts.append(run)

    def logged(self, records: Sequence[Record]) -> None:
        self.records += records

    def ended(self) -> None:
        self.ends.append("ended")

    def failed(self, error: BaseException) -> None:
        self.ends.append(type(error))


class Killed(BaseException):
    """Stands for the end of the process."""


def tiny_run(path: Path, *callbacks: Callback, logger: str = "", resume: bool = False, epochs: int = 2) -> RunFolder:
    folder = RunFolder(path)
    folder.create()
    config = tiny_config(logger=logger, epochs=epochs, evaluation=EvaluationConfig(every=1))
    train(config, tiny_bundle(), folder, CPU, dataset_record={"name": "tiny"}, resume=resume, callbacks=callbacks)
    return folder


def killed_and_resumed(path: Path, logger: str, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """End a run after its second epoch was told and before that was saved, and resume it."""
    save, calls = loop.save_checkpoint, 0

    def dying(file: Path, content: Any) -> None:
        nonlocal calls
        calls += file.name == "last.pt"
        if calls == 2:
            raise Killed
        save(file, content)

    monkeypatch.setattr(loop, "save_checkpoint", dying)
    with pytest.raises(Killed):
        tiny_run(path, logger=logger)
    monkeypatch.setattr(loop, "save_checkpoint", save)
    return tiny_run(path, logger=logger, resume=True)


def told(folder: RunFolder, kind: str, name: str) -> list[tuple[int, float]]:
    """Return step and value of one number, as the run's own file has them."""
    return [(record["step"], record[name]) for record in read_metrics(folder.metrics) if record["kind"] == kind]


def test_a_callback_hears_of_everything(tmp_path: Path) -> None:
    heard = Recorder()
    folder = tiny_run(tmp_path, heard)
    (start,) = heard.starts
    assert start.config.model.width == 16 and start.folder is not None
    assert (start.first_epoch, start.first_step) == (0, 0)
    assert heard.ends == ["ended"]
    assert [dict(record) for record in heard.records] == read_metrics(folder.metrics)
    kinds = [record["kind"] for record in heard.records]
    assert [kinds.count(kind) for kind in ("step", "epoch", "evaluation")] == [9, 3, 3]
    named = set(numbers(heard.records[0]))
    assert {"total", "cls", "loc", "sensitivity", "fit", "contrastive", "lr", "grad_norm"} <= named
    assert set(UNITS) <= {name for record in heard.records for name in numbers(record)}

    again = Recorder()
    tiny_run(tmp_path, again, resume=True, epochs=3)
    assert (again.starts[0].first_epoch, again.starts[0].first_step) == (3, 9)
    assert {record["epoch"] for record in again.records} == {3}


def test_a_whole_run_takes_callbacks(tmp_path: Path) -> None:
    heard = Recorder()
    words = ["--dataset", "thumos14", *TINY_OPTIONS, "--output", str(tmp_path / "run"), "--logger", "csv"]
    run(parse(words), words, callbacks=[heard])
    assert heard.ends == ["ended"] and heard.starts[0].config.dataset == "thumos14"
    assert {record["kind"] for record in heard.records} == {"step", "epoch", "evaluation"}
    assert (tmp_path / "run" / "csv" / "epoch.csv").exists()


def test_a_callback_changes_no_number(tmp_path: Path) -> None:
    plain, heard = tiny_run(tmp_path / "plain"), tiny_run(tmp_path / "heard", Recorder(), logger="csv")
    assert told(plain, "step", "total") == told(heard, "step", "total")


@pytest.mark.parametrize("moment", ["logged", "ended"])
def test_a_callback_that_fails_is_said_once_and_training_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], moment: str
) -> None:
    def fails(self: Callback, *args: object) -> None:
        raise ConnectionError("no\nnetwork \x1b[31m")

    broken, heard = type("Broken", (Callback,), {moment: fails})(), Recorder()
    folder = tiny_run(tmp_path, broken, heard)
    err = capsys.readouterr().err
    assert err.count("warning: ") == err.count("\n") == 1
    assert err.startswith(
        "warning: Broken fails and hears no more of this run (no network \\x1b[31m); training goes on"
    )
    assert str(folder.metrics) in err
    assert len(heard.records) == 15 and heard.ends == ["ended"]
    assert folder.last.exists()


def test_a_callback_that_cannot_start_stops_the_run_before_its_first_step(tmp_path: Path) -> None:
    class Unready(Callback):
        def started(self, run: RunStart) -> None:
            raise ConnectionError("no key")

    heard = Recorder()
    with pytest.raises(ConnectionError, match="no key"):
        tiny_run(tmp_path, heard, Unready())
    assert heard.ends == [ConnectionError] and not heard.records
    assert not RunFolder(tmp_path).last.exists() and read_metrics(RunFolder(tmp_path).metrics) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, NonFiniteLossError])
def test_a_run_that_fails_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    def fails(*args: object) -> None:
        raise error

    class AlsoFails(Callback):
        def failed(self, error: BaseException) -> None:
            raise RuntimeError

    heard = Recorder()
    monkeypatch.setattr(loop, "_fetch", fails)
    with pytest.raises(error):
        tiny_run(tmp_path, AlsoFails(), heard)
    assert heard.ends == [error]


def test_the_names_of_loggers() -> None:
    assert parse_loggers("") == ()
    assert parse_loggers(" csv,tensorboard, csv") == ("csv", "tensorboard")
    with pytest.raises(ValueError, match=r"logger 'tensorbord' is unknown; did you mean 'tensorboard'\?"):
        TrainConfig(logger="tensorbord").validate()


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_missing_package_is_said_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard" if name == "tensorboard" else name, None)
    folder = tmp_path / "run"
    assert main(["--dataset", "thumos14", *TINY_OPTIONS, "--logger", f"csv,{name}", "--output", str(folder)]) == 2
    err = capsys.readouterr().err
    assert f"error: --logger {name}: {name} is not installed: pip install 'asl-fast[{name}]'" in err
    assert not folder.exists()


def test_a_broken_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ImportError("libodd.so: cannot open", name="odd")

    monkeypatch.setattr("importlib.import_module", broken)
    with pytest.raises(ValueError, match=r"wandb cannot be imported \(libodd\.so: cannot open\): pip install"):
        check_installed(["csv", "wandb"])


def test_a_run_of_before_is_resumed(tmp_path: Path) -> None:
    """Its checkpoint has the former names of options and of parameters of the loss."""
    folder = tiny_run(tmp_path, epochs=1)
    content = load_checkpoint(folder.last)
    former = {"mu_bias": "raw_mu", "sigma_bias": "raw_sigma"}
    weights = content["loss"]
    content["loss"] = {
        name if name.rpartition(".")[2] not in former else f"gaussians.{former[name.rpartition('.')[2]]}": weight
        for name, weight in weights.items()
    }
    assert "gaussians.raw_mu" in content["loss"]
    del content["config"]["logger"]
    content["config"]["tensorboard"] = True
    save_checkpoint(folder.last, content)
    tiny_run(tmp_path, resume=True, epochs=2)
    assert load_checkpoint(folder.last)["loss"].keys() == weights.keys()
    straight = tiny_run(tmp_path.parent / f"{tmp_path.name}-straight", epochs=1)
    tiny_run(straight.path, resume=True, epochs=2)
    assert told(folder, "step", "total") == told(straight, "step", "total")


def test_configurations_of_before_can_be_read() -> None:
    values = to_dict(TrainConfig())
    del values["logger"]
    for former, logger in ((True, "tensorboard"), (False, "")):
        assert from_dict(TrainConfig, {**values, "tensorboard": former}, "old.json").logger == logger
    assert from_dict(TrainConfig, values, "older.json").logger == ""
    for wrong in ("yes", None, [1]):
        with pytest.raises(ValueError, match=r"old\.json: tensorboard must be one of \[True, False\], found"):
            from_dict(TrainConfig, {**values, "tensorboard": wrong}, "old.json")
    with pytest.raises(ValueError, match=r"unknown key 'tensorboard'"):
        from_dict(TrainConfig, {**values, "logger": "csv", "tensorboard": True}, "both.json")


def test_csv_has_every_number_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = killed_and_resumed(tmp_path, "csv", monkeypatch)
    assert sorted(path.name for path in folder.csv.iterdir()) == ["epoch.csv", "evaluation.csv", "step.csv"]
    for kind, name in (("step", "contrastive"), ("epoch", "seconds"), ("evaluation", "average_map")):
        with open(folder.csv / f"{kind}.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [(int(row["step"]), float(row[name])) for row in rows] == told(folder, kind, name)
    assert len(told(folder, "step", "total")) == 9


def test_csv_takes_further_columns(tmp_path: Path) -> None:
    folder = tiny_run(tmp_path, logger="csv", epochs=1)
    config = tiny_config(
        logger="csv", epochs=2, evaluation=EvaluationConfig(every=1, tiou_thresholds=(0.5,), strict_thresholds=(0.9,))
    )
    train(config, tiny_bundle(), folder, CPU, dataset_record={"name": "tiny"}, resume=True)
    with open(folder.csv / "evaluation.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["strict_map@0.9"]) for row in rows] == [False, False, True]
    assert [bool(row["map@0.3"]) for row in rows] == [True, True, False]


def test_tensorboard_has_every_number_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard", reason="needs tensorboard, of the extra tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = killed_and_resumed(tmp_path, "tensorboard", monkeypatch)
    events = EventAccumulator(str(folder.tensorboard))
    events.Reload()
    for kind, name in (("step", "total"), ("epoch", "contrastive"), ("evaluation", "average_map")):
        found = [(event.step, event.value) for event in events.Scalars(f"{kind}/{name}")]
        assert found == [(step, pytest.approx(value, rel=1e-6)) for step, value in told(folder, kind, name)]
    assert "config/text_summary" in events.Tags()["tensors"]


def test_mlflow_has_every_number_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason=NEEDS_MLFLOW)
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = killed_and_resumed(tmp_path / "runs" / "tiny-001", "mlflow", monkeypatch)
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    assert run.info.status == "FINISHED" and run.info.run_name == "tiny-001"
    assert run.data.params["model.width"] == "16" and run.data.params["loss.contrastive"] == "True"
    assert json.loads(run.data.tags["units"])["seconds"] == "s"
    for kind, name in (("step", "total"), ("epoch", "contrastive"), ("evaluation", "map@0.3")):
        history = client.get_metric_history(run.info.run_id, f"{kind}/{name}".replace("@", "_at_"))
        assert [(each.step, each.value) for each in history] == told(folder, kind, name)


def test_mlflow_marks_what_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason=NEEDS_MLFLOW)
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")

    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_fetch", stop)
    with pytest.raises(KeyboardInterrupt):
        tiny_run(tmp_path / "run", logger="mlflow")
    client = MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert run.info.status == "KILLED"


def leveldb_records(log: bytes) -> list[bytes]:
    """Read a log of LevelDB: blocks of 32 KiB, whose pieces have a header of checksum, length and kind."""
    whole, place = [b""], 7
    while place + 7 <= 7 + len(log):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", log, place - 7)
        whole[-1] += log[place : place + length]
        if kind in (1, 4):  # a record of one piece, or its last piece
            whole.append(b"")
        place += 7 + length
    return whole[:-1]


def test_wandb_offline_has_every_number_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb", reason=NEEDS_WANDB)
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = killed_and_resumed(tmp_path, "wandb", monkeypatch)
    wandb.teardown()  # its service writes the file, and is done when it has ended
    files = sorted(folder.wandb.glob("offline-run-*/*.wandb"))
    assert len(files) == 2 and len({path.stem for path in files}) == 1
    found: list[tuple[int, float]] = []
    for path in files:
        for data in leveldb_records(path.read_bytes()[7:]):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            items = {item.key or item.nested_key[-1]: item.value_json for item in record.history.item}
            if "step/total" in items:
                found.append((int(items["_step"]), float(items["step/total"])))
    assert found == told(folder, "step", "total")


def test_wandb_without_a_key_is_refused_before_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason=NEEDS_WANDB)
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ValueError, match=r"--logger wandb cannot start: .*; leave wandb out of --logger"):
        tiny_run(tmp_path / "run", logger="wandb")
    assert not RunFolder(tmp_path / "run").last.exists()
