# SPDX-License-Identifier: Apache-2.0
"""The scripts for a machine with a GPU, as far as they can be tried without one; ``make rehearse`` does the rest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.registry import discover

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the scripts are for Linux")

ROOT = Path(__file__).resolve().parents[1]
GPU, SANITIZE = ROOT / "benchmarks" / "gpu.sh", ROOT / "benchmarks" / "sanitize_gpu.sh"
PYTHON_DOUBLE = """#!/bin/bash
case "$*" in
*torch.cuda.get_device_name*) echo "NVIDIA H100 PCIe" ;;
*get_device_capability*) echo 90 ;;
*discover*) echo training_losses diou_loss ;;
*"-m asl_fast.env"*) echo "environment of the double" ;;
*benchmarks/run.py*) echo "| a table |"; echo "$*" >"$OUT/called"; exit ${TABLE_STATUS:-0} ;;
*"-m pytest"*) echo "1 passed"; exit 0 ;;
*) exit ${OTHER_STATUS:-0} ;;
esac
"""


@pytest.fixture
def double(tmp_path: Path) -> Path:
    """Stand in for a Python whose torch sees a GPU."""
    path = tmp_path / "python"
    path.write_text(PYTHON_DOUBLE)
    path.chmod(0o755)
    return path


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run(
        ["bash", str(GPU), *words], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_stages_fit_into_nine_minutes_and_every_benchmark_is_in_one(tmp_path: Path) -> None:
    done = run("--rehearse", "budget", OUT=str(tmp_path), PYTHON=sys.executable)
    assert done.returncode == 0, done.stdout + done.stderr
    stated = re.search(r"at most (\d+) of (\d+) s", done.stdout)
    assert stated is not None
    text = GPU.read_text()
    limits = {name: int(limit) for name, limit in re.findall(r"\[(\w+)\]=(\d+)", text)}
    names = re.search(r"^ON_A_GPU=\(([\w ]+)\)", text, re.MULTILINE)
    kill_after = re.search(r"KILL_AFTER=(\d+)", text)
    assert names is not None and kill_after is not None
    stages = names[1].split()
    assert sum(limits[name] + int(kill_after[1]) for name in stages) == int(stated[1]) <= int(stated[2]) == 540
    cases = re.search(r'CASES="([\w\s]+)"', text)
    assert cases is not None
    assert sorted(cases[1].split()) == sorted(set(discover()) - {"evaluation", "loader"})


def test_all_stages_run_and_the_table_is_shown(double: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    done = run(OUT=str(out), PYTHON=str(double), NVCC="/nowhere/nvcc", PATH=os.environ["PATH"])
    assert done.returncode == 0, done.stdout + done.stderr
    order = [line.split(":")[0] for line in done.stdout.splitlines() if ": passed in " in line]
    assert order == ["build", "environment", "tests", "benchmarks", "sanitizer"]
    assert done.stdout.index("| a table |") < done.stdout.index("sanitizer: passed")
    assert "environment of the double" in done.stdout
    called = (out / "called").read_text()
    assert "--op training_losses --op diou_loss" in called and f"--json {out}/results.json" in called
    files = [path.stem for path in (ROOT / "tests" / "kernels").glob("test_*.py")]
    assert sorted(path.name for path in out.glob("tests-*.log")) == sorted(
        f"tests-{n}.log" for n in [*files, "test_graph", "test_loader"]
    )


def test_a_stage_that_fails_is_named_and_the_next_runs(double: Path, tmp_path: Path) -> None:
    done = run("environment", "benchmarks", "tests", OUT=str(tmp_path), PYTHON=str(double), TABLE_STATUS="1")
    assert done.returncode == 1
    assert "benchmarks: failed with status 1" in done.stdout and "failed: benchmarks\n" in done.stdout
    assert "| a table |" in done.stdout and "tests: passed" in done.stdout


@pytest.mark.parametrize(
    ("words", "variables", "message"),
    [
        (["tests", "benchmark"], {}, "no stage 'benchmark'; there are build environment tests benchmarks sanitizer"),
        (["tests"], {"PYTHON": "/nowhere/python"}, "/nowhere/python sees no CUDA device"),
        (["--rehearse"], {"PYTHON": "/nowhere/python"}, "/nowhere/python sees no CUDA device"),
    ],
)
def test_what_cannot_be_done_is_said(words: list[str], variables: dict[str, str], message: str) -> None:
    done = run(*words, **variables)
    assert done.returncode == 2 and message in done.stderr


TOOL = """#!/bin/bash
# Stands in for compute-sanitizer: a check may find something, or take longer than there is time.
check=$2
echo "========= COMPUTE-SANITIZER"
echo "$*" >"$OUT/called-$check"
[ "$check" = "${SLOW:-}" ] && sleep 30
[ "$check" = "${FINDS:-}" ] && echo "========= Invalid __global__ read" && exit 9
echo "3 passed"
"""


@pytest.mark.parametrize(
    ("variables", "status", "said"),
    [
        ({}, 0, "racecheck: passed, 3 passed"),
        ({"FINDS": "synccheck"}, 1, "synccheck: status 9"),
        ({"SLOW": "initcheck"}, 0, "initcheck: nothing found in the 2 s there were, in which not all tests ran"),
    ],
)
def test_four_checks_look_at_kernels_alone(variables: dict[str, str], status: int, said: str, tmp_path: Path) -> None:
    tool = tmp_path / "compute-sanitizer"
    tool.write_text(TOOL)
    tool.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "OUT": str(tmp_path), **variables}
    done = subprocess.run(
        ["bash", str(SANITIZE), "python", "2"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert said in done.stdout
    called = {path.name.removeprefix("called-"): path.read_text() for path in tmp_path.glob("called-*")}
    assert set(called) == {"memcheck", "racecheck", "synccheck", "initcheck"}
    for words in called.values():
        tests = re.findall(r"tests/\S+", words)
        assert tests and all(name.startswith("tests/kernels/test_cuda_") for name in tests) and " -x" not in words
