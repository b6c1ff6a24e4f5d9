# SPDX-License-Identifier: Apache-2.0
"""The whole step on fake CUDA tensors: nothing that a CUDA graph cannot hold, whatever the configuration."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.skipif(
        torch.version.cuda is None and not any(map(shutil.which, ("g++", "c++", "clang++"))),
        reason="the stand-in for PyTorch's CUDA part needs a C++ compiler",
    ),
    pytest.mark.skipif(
        torch.__version__.startswith("2.6.") and torch.version.cuda is not None and not torch.cuda.is_available(),
        reason="torch 2.6 for CUDA asks its driver, which is not here, even for an element of a fake tensor",
    ),
]


def in_own_process(*words: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def traces() -> Any:
    pytest.importorskip("triton", minversion="3.5")
    return json.loads(in_own_process("-m", "tests.training.capturing").splitlines()[-1])


def test_no_configuration_reads_or_copies(traces: Any) -> None:
    assert len(traces) > 10
    assert {name: trace["obstacles"] for name, trace in traces.items() if trace["obstacles"]} == {}


def test_every_stage_launches_something(traces: Any) -> None:
    stages = {"schedule", "forward", "loss", "backward", "clip", "optimizer", "average", "rest"}
    assert all(set(trace["stages"]) == stages for trace in traces.values())
    # The optimiser goes over all parameters at once: parameter groups, steps, clipping and the average, not tensors.
    assert all(trace["launches"]["optimiser"] < 30 for trace in traces.values())


OBSTACLES = """
from benchmarks import fake_cuda
fake_cuda.load()
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from benchmarks.fake_cuda import tracing
found = []
with FakeTensorMode():
    x = torch.empty(4, device="cuda")
    for act in (lambda: x.sum().item(), lambda: x[x > 0], lambda: x.cpu(), lambda: x + torch.tensor([1.0, 2, 3, 4]),
                lambda: torch.equal(x, x), lambda: x + 1):
        trace = tracing.Trace()
        try:
            with tracing.Tracer(trace):
                act()
        except Exception as error:
            trace.obstacles.append(type(error).__name__)
        found.append(bool(trace.obstacles))
print(found)
"""


def test_an_obstacle_is_seen() -> None:
    """A read, a shape from data, a copy to the host, numbers of the host, a comparison; adding one is none."""
    assert in_own_process("-c", OBSTACLES).strip() == str([True] * 5 + [False])


def test_the_command_prints_launches_by_category(tmp_path: Path) -> None:
    pytest.importorskip("triton", minversion="3.5")
    words = ["--shape", "activitynet13", "--variant", "plain", "--stages", "--json", str(tmp_path / "launches.json")]
    out = in_own_process("benchmarks/step_launches.py", *words)
    assert "in all, operator by operator" in out
    assert "7  replayed: 1 graph, 5 copies of the batch, 1 copy of the losses" in out
    (record,) = json.loads((tmp_path / "launches.json").read_text()).values()
    assert record["obstacles"] == []
    assert record["eager"]["convolution/matmul"] > 100 > record["eager"]["loss"] >= 2
