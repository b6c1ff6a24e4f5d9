# SPDX-License-Identifier: Apache-2.0
"""Compiles what the launchers launch, for GPUs that need not be here: ``python -m tests.kernels.ahead_of_time CALLS``.

CALLS is a part of the names of calls, 1/4 for the first of four shares of them all, or nothing for all.

The launchers run on CPU tensors with Triton's driver replaced by one that names a target and never launches, so every
kernel is compiled with exactly the dtypes, block sizes and options of its real calls. One JSON line per compilation.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import triton
from asl_fast.kernels import _launch
from triton.backends.compiler import GPUTarget
from triton.runtime import JITFunction, driver

from tests.kernels.calls import CALLS, Call

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"


class Elsewhere:
    """The part of a Triton driver that compilation asks for; a device number per target keeps the caches apart."""

    def __init__(self, device: int, target: GPUTarget) -> None:
        self.device, self.target = device, target

    def get_current_device(self) -> int:
        return self.device

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return self.target


def local_memory(cubin: bytes) -> int | None:
    """Bytes of stack and local memory per thread, which is where registers spill to; None where no tool can tell."""
    if not CUOBJDUMP.exists():
        return None
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        report = subprocess.run([CUOBJDUMP, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    return sum(int(size) for size in re.findall(r"\b(?:STACK|LOCAL):(\d+)", report))


def compilations(name: str, call: Callable[[], Any]) -> Iterator[dict[str, Any]]:
    """Return what every target makes of the kernels that ``call`` launches."""
    original = JITFunction.run
    for device, (label, target) in enumerate(TARGETS.items()):
        compiled: list[tuple[str, Any]] = []

        def run(self: Any, *args: Any, grid: Any, warmup: bool, _found: Any = compiled, **options: Any) -> Any:
            kernel = original(self, *args, grid=grid, warmup=True, **options)
            _found.append((self.fn.__name__, kernel))
            return kernel

        driver.set_active(Elsewhere(device, target))
        JITFunction.run = run
        _launch.is_hip = lambda backend=target.backend: backend == "hip"
        try:
            call()
        finally:
            JITFunction.run = original
        for kernel_name, kernel in compiled:
            entry = {"call": name, "kernel": kernel_name, "target": label, "local_memory": None}
            entry["bytes"] = len(kernel.asm["hsaco" if label == "gfx942" else "cubin"])
            if label == "sm_90":
                entry["local_memory"] = local_memory(kernel.asm["cubin"])
            yield entry


def chosen(which: str) -> list[Call]:
    """Return the calls that ``which`` selects."""
    if share := re.fullmatch(r"(\d+)/(\d+)", which):
        return CALLS[int(share[1]) - 1 :: int(share[2])]
    return [call for call in CALLS if which in call[0]]


if __name__ == "__main__":
    for call_name, function, arguments in chosen(sys.argv[1] if len(sys.argv) > 1 else ""):
        torch.manual_seed(0)
        for line in compilations(call_name, partial(function, *arguments)):
            print(json.dumps(line), flush=True)
