# SPDX-License-Identifier: Apache-2.0
"""What ``--profile`` leaves behind, and that stages cost nothing where nobody looks."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.autograd import DeviceType

from asl_fast.training import stages
from asl_fast.training.loop import train
from asl_fast.training.metrics_log import read_metrics
from asl_fast.training.profile import StageTime, stage_table, table_lines
from asl_fast.training.run_folder import RunFolder
from asl_fast.training.stages import STAGES, recorded, stage, stage_of
from tests.training.test_resume import differences
from tests.training.tiny import CPU, tiny_bundle, tiny_config


def run(path: Path, **options: Any) -> Any:
    folder = RunFolder(path)
    folder.create()
    return train(tiny_config(**options), tiny_bundle(), folder, CPU, dataset_record={})


@pytest.mark.parametrize(("asked", "recorded_steps"), [(2, 2), (50, 3)])
def test_trace_and_table(tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: int, recorded_steps: int) -> None:
    run(tmp_path, profile=asked)
    folder = RunFolder(tmp_path)
    with gzip.open(folder.trace) as file:
        events = json.load(file)["traceEvents"]
    marked = [event["name"] for event in events if stage_of(event.get("name", "")) is not None]
    on_cpu = set(STAGES) - {"graph"}
    assert {stage_of(name) for name in marked} == on_cpu
    assert all(marked.count(name) == recorded_steps for name in set(marked))
    table = json.loads(folder.stages.read_text())
    assert (table["steps"], table["device"]) == (recorded_steps, "cpu")
    rows = {row["stage"]: row for row in table["stages"]}
    assert set(rows) == {*on_cpu, "rest"}
    assert sum(row["share"] for row in rows.values()) == pytest.approx(1.0)
    assert rows["forward"]["launches"] > rows["clip"]["launches"] > 0 < rows["backward"]["launches"]
    out = capsys.readouterr().out
    assert f"{recorded_steps} steps recorded on cpu, per step:" in out
    assert out.count("stage ") == 1 and "operators" in out
    assert str(folder.trace) in out
    assert not list(tmp_path.glob(".*"))


def test_recording_changes_no_number(tmp_path: Path) -> None:
    plain, profiled = run(tmp_path / "plain"), run(tmp_path / "profiled", profile=2)
    assert differences(plain.state.state_dict(), profiled.state.state_dict()) == []
    logs = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("plain", "profiled")]
    assert [record.get("total") for record in logs[0]] == [record.get("total") for record in logs[1]]
    assert not RunFolder(tmp_path / "plain").trace.exists()


def test_a_stage_is_nothing_where_nobody_looks() -> None:
    assert stage("forward") is stage("backward")
    with recorded():
        assert stage("forward") is not stage("backward")
        with pytest.raises(AssertionError, match="'sleep' is none of"), stage("sleep"):
            pass
    assert stage("forward") is stage("backward")


def test_ranges_for_nvidia(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(stages, "_marking", True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda.nvtx, "range_push", seen.append)
    monkeypatch.setattr(torch.cuda.nvtx, "range_pop", lambda: seen.append("end"))
    with stage("forward"):
        pass
    with pytest.raises(KeyError), stage("loss"):
        raise KeyError
    assert seen == ["forward", "end", "loss", "end"]


@dataclass
class Event:
    """An event of PyTorch's profiler, times in microseconds."""

    name: str
    start: float
    end: float
    kernels: list[float] = field(default_factory=list)
    cpu_parent: Any = None
    device_type: DeviceType = DeviceType.CPU

    @property
    def time_range(self) -> SimpleNamespace:
        return SimpleNamespace(start=self.start, end=self.end)


def gpu_events() -> Iterator[Any]:
    """Yield two steps; the operators of backward run on a thread of their own, within the stage's time."""
    for begin in (0.0, 1000.0):
        yield Event("stage:loader", begin, begin + 100)
        yield Event("stage:backward", begin + 100, begin + 500)
        yield Event("aten::mm", begin + 200, begin + 250, [SimpleNamespace(duration=300.0)] * 2)
        yield Event("mm_kernel", begin + 300, begin + 900, device_type=DeviceType.CUDA)
        yield Event("stage:optimizer", begin + 600, begin + 700)
        yield Event("cudaLaunchKernel", begin + 610, begin + 620, [SimpleNamespace(duration=200.0)])


def test_kernels_belong_to_the_stage_that_launches_them() -> None:
    table = {row.stage: row for row in stage_table(gpu_events(), 2, on_gpu=True)}
    assert table["backward"] == StageTime("backward", 0.4, 0.6, 0.75, 2)
    assert table["optimizer"] == StageTime("optimizer", 0.1, 0.2, 0.25, 1)
    assert (table["loader"].host_ms, table["loader"].device_ms, table["loader"].launches) == (0.1, 0.0, 0)
    # From the first stage to the end of the last 1,700 us, of which 1,200 in stages.
    assert table["rest"].host_ms == pytest.approx(0.25)
    lines = list(table_lines(list(table.values())))
    assert "device ms" in lines[0] and lines[0].endswith("launches")
    assert lines[-1].split() == ["step", "0.85", "0.80", "100.0%", "3"]
