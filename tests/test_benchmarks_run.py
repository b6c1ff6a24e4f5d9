# SPDX-License-Identifier: Apache-2.0
"""The command ``benchmarks/run.py``: what it finds, measures and writes, and what it says to wrong words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.autograd import DeviceType

from asl_fast import native
from asl_fast.backend import backend
from benchmarks import actionformer, compiling, run
from benchmarks.launches import summarise
from benchmarks.measuring import Options, check, measure_case
from benchmarks.memory import peak_bytes
from benchmarks.registry import Case, close, discover, flatten, small_cases
from benchmarks.roofline import Ceilings, ceilings
from benchmarks.stopwatch import Lap
from benchmarks.table import markdown, rows, seconds, text
from benchmarks.timing import measure, processors, timing

ROOT = Path(__file__).resolve().parents[1]


def double(x: torch.Tensor) -> torch.Tensor:
    return x + x


def case(**options: Any) -> Case:
    inputs = {"name": "a case", "make_inputs": lambda: (torch.ones(8),), "run": double, "bytes_moved": 64}
    return Case(**(inputs | {"baselines": {"eager": lambda x: 2 * x}} | options))


def test_every_benchmark_file_is_found() -> None:
    files = {path.stem.removeprefix("bench_") for path in (ROOT / "benchmarks").glob("*/bench_*.py")}
    found = discover()
    assert set(found) == files
    for name, cases in found.items():
        names = [each.name for each in cases("cpu")]
        assert len(names) == len(set(names)) > 0, f"{name} has two cases of one name"
        assert small_cases(cases("cpu"))


@pytest.mark.parametrize(
    "name", ["sensitivity_focal_loss", "diou_loss", "assign_points", "soft_nms", "training_losses"]
)
def test_ops_are_measured_at_the_shapes_of_all_benchmarks(name: str) -> None:
    names = [each.name for each in discover()[name]("cpu") if each.scale == "real"]
    for benchmark in (
        "thumos14",
        "multithumos",
        "charades",
        "ego4d-mq",
        "epic100-verb",
        "epic100-noun",
        "activitynet13",
    ):
        assert any(benchmark in each for each in names), benchmark


def test_a_run_from_another_folder_writes_every_column(tmp_path: Path) -> None:
    """As a user does it: no path set, not started from the checkout."""
    target = tmp_path / "deep" / "result.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "run.py"), "--op", "diou_loss", "--quick", "--case", "small"]
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", actionformer.VARIABLE)}
    done = subprocess.run(
        [*command, "--json", str(target), "--seconds", "0.01"],
        cwd=tmp_path,
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "small: 300 rows" in done.stdout and "x eager" in done.stdout and "copy" in done.stdout
    content = json.loads(target.read_text())
    assert content["schema"] == 1 and content["device_type"] == "cpu" and content["threads"] >= 1
    assert content["ceilings"]["copy_bytes"] > 1e8 and content["environment"]["versions"]["torch"]
    (result,) = content["results"]
    assert 0 < result["low_sec"] <= result["median_sec"] <= result["high_sec"] and result["rounds"] >= 3
    assert result["percent_of_copy"] == pytest.approx(100 * result["bytes_per_sec"] / content["ceilings"]["copy_bytes"])
    assert result["compared"] and result["baselines"]["eager"]["ratio"] > 0
    assert result["baselines"]["compiled"] == {"missing": "torch.compile was left out"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--op", "diou_los"], "no benchmark 'diou_los'; did you mean diou_loss?"),
        (["--case", "no such case"], "no case is left"),
        (["--threads", "-1"], "must not be negative"),
        (["--compile-seconds", "0"], "must be positive"),
        pytest.param(
            ["--device", "cuda"],
            "--device cuda needs a GPU",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="has one"),
        ),
    ],
)
def test_a_wrong_request_is_answered(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_reference_is_not_measured_as_if_it_were_compiled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(native, "cpu_module", lambda: None)
    monkeypatch.setattr(native, "why_missing", lambda kind="cpu": "it was never built")
    quick = ["--op", "diou_loss", "--quick", "--case", "small", "--seconds", "0.01"]
    assert run.main(quick) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1
    assert "more ops run on the reference" in shown.err and "it was never built" in shown.err
    with backend("reference"):
        assert run.main(quick) == 0
    assert "every op is forced to reference\n" in capsys.readouterr().out


def test_list_names_cases_and_measures_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--op", "soft_nms", "--list"]) == 0
    printed = capsys.readouterr().out
    assert "213 videos" in printed and "(large)" in printed and " ms" not in printed


def test_actionformer_must_be_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    actionformer.load.cache_clear()
    monkeypatch.setenv(actionformer.VARIABLE, str(tmp_path))
    with pytest.raises(actionformer.ActionFormerError, match=r"holds no libs/utils/nms.py"):
        actionformer.load()
    monkeypatch.delenv(actionformer.VARIABLE)
    actionformer.load.cache_clear()
    assert actionformer.load() is None


def laps(*seconds: float) -> list[Lap]:
    return [Lap(each) for each in seconds]


def test_ratios_are_taken_side_by_side() -> None:
    """A disturbance that slows both sides of a round leaves the ratio alone."""
    assert timing(laps(2.0, 20.0, 4.0), laps(1.0, 10.0, 2.0)).ratio == 2.0
    once = timing(laps(6.0), laps(1.0, 2.0, 3.0))
    assert once.ratio == 3.0 and once.rounds == 1 and once.low == once.high == 6.0


def test_a_side_slower_than_the_budget_is_called_once() -> None:
    calls = {"fast": 0, "slow": 0}

    def fast() -> None:
        calls["fast"] += 1

    def slow() -> None:
        calls["slow"] += 1
        time.sleep(0.05)

    timings = measure({"fast": fast, "slow": slow}, (), seconds=0.02, min_rounds=3)
    assert calls["slow"] == 1 and timings["slow"].rounds == 1 and timings["slow"].median >= 0.05
    assert timings["fast"].rounds == calls["fast"] - 1 >= 3 and timings["slow"].ratio > 1


def test_prepare_comes_before_every_call() -> None:
    order: list[str] = []
    measure({"a": lambda: order.append("a")}, (), seconds=0.0, min_rounds=2, prepare=lambda: order.append("prepare"))
    assert order[:2] == ["prepare", "a"] and order.count("prepare") == order.count("a")


def test_sides_that_differ_are_not_compared() -> None:
    wrong = case(baselines={"eager": lambda x: 3 * x})
    found = measure_case("op", wrong, Options(seconds=0.0, check=True))
    assert found["failed"] and found["missing"].startswith("failed: a case: eager computes something else")
    with pytest.raises(AssertionError, match="a case: eager computes something else"):
        check(wrong, {"run": wrong.run, **wrong.baselines}, wrong.make_inputs())
    with pytest.raises(AssertionError, match="nothing to compare"):
        close()(None, None)
    check(case(agree=None), {"run": double, "other": lambda x: x}, (torch.ones(1),))
    assert len(flatten({"b": [torch.ones(1), None], "a": (2.0,)})) == 2


def test_a_record_has_rates_of_what_bounds_the_case() -> None:
    options = Options(seconds=0.0, ceilings=Ceilings(1e9, 1e12), memory=True)
    found = measure_case("op", case(flops=10**6, items=3), options)
    assert found["percent_of_copy"] == pytest.approx(100 * 64 / found["median_sec"] / 1e9)
    assert found["percent_of_best"] == pytest.approx(100 * 1e6 / found["median_sec"] / 1e12)
    assert found["items_per_sec"] == pytest.approx(3 / found["median_sec"])
    header, row = rows([found])
    assert header[0] == "case" and row[0] == "op: a case" and "/s" in row[4] and "x eager" in row[-1]
    assert "- compiled" in row[-1] and markdown([header, row]).count("\n") == 2 and "a case" in text([header, row])


def test_what_does_not_compile_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda function: function)

    def breaks(x: torch.Tensor) -> torch.Tensor:
        raise ValueError("no such thing")

    with pytest.raises(compiling.CompileError, match="no such thing"):
        compiling.compiled(breaks, (torch.ones(2),), 60.0)


def test_a_case_that_takes_too_long_is_given_up() -> None:
    found = measure_case("op", case(run=lambda x: time.sleep(5)), Options(case_seconds=0.05))
    assert found["missing"] == "took more than 0.05 s"
    assert rows([found])[1] == ("op: a case", *"------", "took more than 0.05 s")


def raising(error: Exception) -> Any:
    def run(*_: Any) -> None:
        raise error

    return run


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (case(run=raising(torch.OutOfMemoryError("CUDA out of memory.\nTried to"))), "OutOfMemoryError: CUDA out of"),
        (case(baselines={"eager": raising(RuntimeError("does not compile"))}), "RuntimeError: does not compile"),
        (case(make_inputs=raising(FileNotFoundError("no such file"))), "FileNotFoundError: no such file"),
    ],
)
def test_a_case_that_fails_does_not_end_the_table(
    broken: Case, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Case(**{**vars(case()), "name": "another"})
    monkeypatch.setattr(run, "discover", lambda: {"op": lambda device: [broken, whole]})
    target = tmp_path / "results.json"
    assert run.main(["--quick", "--seconds", "0.001", "--json", str(target)]) == 1
    shown = capsys.readouterr()
    assert f"failed: {reason}" in shown.out and "op: another" in shown.out
    assert f"op: a case failed: {reason}" in shown.err
    first, second = json.loads(target.read_text())["results"]
    assert first["failed"] and "\n" not in first["missing"] and second["median_sec"] > 0


def test_all_cases_together_have_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = case(run=lambda x: time.sleep(5))
    monkeypatch.setattr(run, "discover", lambda: {"op": lambda device: [slow, slow]})
    begin = time.monotonic()
    assert run.main(["--quick", "--total-seconds", "0.1"]) == 0
    assert time.monotonic() - begin < 4
    printed = capsys.readouterr().out
    assert "took more than 0.1 s" in printed and "no time was left" in printed


def test_compiling_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda function: lambda *_: time.sleep(5))
    started = time.perf_counter()
    with pytest.raises(compiling.CompileError, match=r"more than 0\.05 s"):
        compiling.compiled(double, (torch.ones(2),), 0.05)
    assert time.perf_counter() - started < 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measured on Linux only")
def test_peak_memory_counts_what_was_freed_again() -> None:
    size = 48 << 20
    try:
        peak = peak_bytes(lambda: torch.ones(size, dtype=torch.uint8).max(), "cpu")
        nothing = peak_bytes(lambda: None, "cpu")
    except OSError as error:
        pytest.skip(str(error))
    assert size * 0.9 < peak < size * 1.5 and nothing < size * 0.1


def test_processors_are_given_back() -> None:
    threads = torch.get_num_threads()
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    with processors(1):
        assert torch.get_num_threads() == 1
        assert allowed is None or len(os.sched_getaffinity(0)) == 1
    assert torch.get_num_threads() == threads
    assert allowed is None or os.sched_getaffinity(0) == allowed


def test_launches_are_kernels_without_copies() -> None:
    def event(name: str, where: DeviceType, microseconds: float) -> SimpleNamespace:
        return SimpleNamespace(
            name=name, device_type=where, time_range=SimpleNamespace(elapsed_us=lambda: microseconds)
        )

    found = summarise(
        [
            event("focal", DeviceType.CUDA, 3.0),
            event("diou", DeviceType.CUDA, 2.0),
            event("Memcpy DtoD", DeviceType.CUDA, 9.0),
            event("aten::add", DeviceType.CPU, 9.0),
        ]
    )
    assert found == (2, 1, pytest.approx(5e-6))


def test_ceilings_are_rates() -> None:
    with processors(1):
        found = ceilings("cpu", quick=True)
    assert 1e8 < found.copy_bytes < 1e13 and 1e8 < found.matrix_flops <= found.best_flops < 1e15
    assert found.convolution_flops > 1e8


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0000123, "12.3 µs"), (0.0123, "12.3 ms"), (1.5, "1.5 s"), (1234.0, "1234 s")]
)
def test_times_have_units(value: float, shown: str) -> None:
    assert seconds(value) == shown
