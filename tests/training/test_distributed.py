# SPDX-License-Identifier: Apache-2.0
"""Which device and number format a run takes, and two processes on the CPU that train one detector."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from asl_fast.training.checkpoint import load_checkpoint
from asl_fast.training.distributed import start_processes, uses_bf16
from asl_fast.training.run_folder import RunFolder
from tests.torchrun import torchrun
from tests.training.tiny import TINY_OPTIONS

CPU = torch.device("cpu")

WORKER = """
import sys
from pathlib import Path
import torch
from asl_fast.training.checkpoint import load_checkpoint
from asl_fast.training.distributed import start_processes
from asl_fast.training.loop import train
from asl_fast.training.run_folder import RunFolder
from tests.training.tiny import tiny_bundle, tiny_config
torch.set_num_threads(1)
processes = start_processes("cpu")
folder = RunFolder(Path(sys.argv[1]))
if processes.is_main:
    folder.create()
processes.gather(None)
for epochs, resume in ((1, False), (1, True)):
    result = train(tiny_config(epochs=epochs), tiny_bundle(), folder, processes, dataset_record={}, resume=resume)
weights = torch.cat([p.detach().flatten() for p in result.state.detector.parameters()])
everyone = processes.gather((weights, len(result.predictions["scores"]), result.scores.average_map))
if processes.is_main:
    assert len(everyone) == 2
    assert torch.equal(everyone[0][0], everyone[1][0])
    assert everyone[0][1:] == everyone[1][1:]
    assert not torch.equal(*torch.stack([s["torch"] for s in torch.load(folder.last, weights_only=True)["rng"]]))
    print("both processes agree on", everyone[0][1], "detections")
processes.close()
left = {thread.read_text().strip() for thread in Path("/proc/self/task").glob("*/comm")}
assert not {name for name in left if "gloo" in name}, left
"""


def test_two_processes_agree(tmp_path: Path) -> None:
    done = torchrun(WORKER, tmp_path / "worker.py", tmp_path, processes=2)
    assert "both processes agree on" in done.stdout
    assert RunFolder(tmp_path).metrics.read_text().count('"kind": "epoch"') == 2


DYING_PEER = """
import os, signal, sys
from asl_fast import train
from asl_fast.training.step import TrainStep
step = TrainStep.__call__

def dying(self, *args):
    if self.state.epoch == 1 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), int(os.environ["HOW"]))
    return step(self, *args)

TrainStep.__call__ = dying
sys.exit(train.main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize("how", ["SIGKILL", "SIGSTOP"])
def test_a_process_that_dies_or_hangs_costs_the_others_one_line(tmp_path: Path, how: str) -> None:
    """Without torchrun, which would say so itself where one dies."""
    root = Path(__file__).resolve().parents[2]
    folder = RunFolder(tmp_path / "run")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    group["HOW"] = str(int(getattr(signal, how)))
    words = ["--dataset", "thumos14", "--synthetic-scale", "0.02", *TINY_OPTIONS, "--epochs", "3", "--device", "cpu"]
    words += ["--process-timeout-sec", "10"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", DYING_PEER, *words, "--output", str(folder.path)],
            env=os.environ | group | {"RANK": rank, "LOCAL_RANK": rank, "PYTHONPATH": str(root)},
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    try:
        error = processes[0].communicate(timeout=240)[1]
    finally:
        processes[1].kill()
        processes[1].communicate(timeout=240)
    assert processes[1].returncode == -signal.SIGKILL
    assert processes[0].returncode == 1, error
    assert "Traceback" not in error
    said = (
        "error: another process of this run ended or hangs, so this one cannot go on; finished epochs are kept; "
        "continue with: "
    )
    assert f"{said}torchrun --nproc-per-node 2 -m asl_fast.train --resume --output {folder.path}" in error
    assert load_checkpoint(folder.last)["epoch"] == 1


def test_one_process_needs_no_group() -> None:
    processes = start_processes("cpu")
    module = torch.nn.Linear(1, 1)
    assert processes.is_main
    assert processes.wrap(module) is module
    assert processes.gather(3) == [3]
    assert processes.from_main("x") == "x"


@pytest.mark.parametrize("device", ["gpu0", "cuda:99" if torch.cuda.is_available() else "cuda"])
def test_a_device_that_is_not_there(device: str) -> None:
    with pytest.raises(ValueError, match=f"device '?{device}"):
        start_processes(device)


def test_precision_as_asked_for() -> None:
    assert uses_bf16("bf16", CPU)
    assert not uses_bf16("fp32", CPU)


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True, "avx512_bf16": False}, True),
        ({"avx2": True}, False),
        ({}, False),
    ],
)
def test_auto_follows_the_processor(
    capabilities: dict[str, bool], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert uses_bf16("auto", CPU) is expected


def test_auto_on_a_torch_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not uses_bf16("auto", CPU)
