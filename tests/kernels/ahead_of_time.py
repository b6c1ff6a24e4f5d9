# SPDX-License-Identifier: Apache-2.0
"""Compiles what the launchers launch, for GPUs that need not be here: ``python -m tests.kernels.ahead_of_time SHARE``.

SHARE is 1/4 for the first of four shares of all compilations, a part of the names of calls, or nothing for all.

The launchers run on CPU tensors with Triton's driver replaced by one that names a target and launches nothing, so every
kernel is compiled with exactly the dtypes, block sizes and options of its real calls. sm_90 compiles each distinct
launch. The others compile enough of them that every kernel meets every dtype, alignment, size of one and absent
argument of each of its parameters, and every value of each constant and option, that any of its launches has.

Prints one JSON line with the number of compilations planned of each kernel, then one line per compilation.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partialmethod
from pathlib import Path
from typing import Any, NamedTuple

os.environ["TRITON_DISABLE_LINE_INFO"] = "1"  # a tenth of the time, and nobody reads where an instruction came from

import torch
import triton
from asl_fast.kernels import _launch
from triton.backends.compiler import GPUTarget
from triton.runtime import JITFunction, driver

from tests.kernels.calls import CALLS
from tests.kernels.covering import covering

TARGETS = {
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_80": GPUTarget("cuda", 80, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
EVERY_LAUNCH = "sm_90"
CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"


class Elsewhere:
    """The part of a Triton driver that compilation asks for; a device number per target keeps the caches apart."""

    def __init__(self, label: str) -> None:
        self.device, self.target = list(TARGETS).index(label), TARGETS[label]

    def get_current_device(self) -> int:
        return self.device

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return self.target


class Launch(NamedTuple):
    """One launch that a launcher asked for."""

    call: str
    target: str
    kernel: JITFunction[Any]
    arguments: tuple[Any, ...]
    grid: Any
    options: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.kernel.fn.__name__)

    def features(self) -> frozenset[tuple[Any, ...]]:
        """Return what the compiler gets to know of each argument and option."""
        named = dict(zip(self.kernel.arg_names, self.arguments, strict=False)) | self.options
        constants = {parameter.name for parameter in self.kernel.params if parameter.is_constexpr}
        fixed = constants | set(self.options) - set(self.kernel.arg_names)
        plain = {parameter.name for parameter in self.kernel.params if parameter.do_not_specialize}
        return frozenset((key, *_seen(value, key in fixed, key in plain)) for key, value in named.items())


def _seen(value: Any, fixed: bool, plain: bool) -> tuple[Any, ...]:
    if fixed or value is None:
        return (repr(value),)
    if isinstance(value, torch.Tensor):
        return (value.dtype, value.data_ptr() % 16 == 0)
    if isinstance(value, int):
        wide = (type(value), abs(value) >= 2**31)
        return wide if plain else (*wide, value == 1, value % 16 == 0)
    return (type(value),)


def launches(target: str, calls: Iterable[tuple[str, Callable[..., Any], tuple[Any, ...]]]) -> list[Launch]:
    """Everything that the calls launch on ``target``; nothing is compiled."""
    found: list[Launch] = []

    def note(kernel: JITFunction[Any], name: str, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> None:
        found.append(Launch(name, target, kernel, arguments, grid, options))

    original, is_hip = JITFunction.run, _launch.is_hip
    driver.set_active(Elsewhere(target))
    _launch.is_hip = lambda: TARGETS[target].backend == "hip"
    try:
        for name, function, arguments in calls:
            JITFunction.run = partialmethod(note, name)
            function(*arguments)
    finally:
        JITFunction.run, _launch.is_hip = original, is_hip
    return found


def plan(which: str) -> list[Launch]:
    """Plan the launches to compile: of each target the distinct ones of every kernel, or those that cover them."""
    chosen: list[Launch] = []
    for target in TARGETS:
        kernels: dict[str, dict[frozenset[tuple[Any, ...]], Launch]] = {}
        for launch in launches(target, [call for call in CALLS if which in call[0]]):
            kernels.setdefault(launch.name, {}).setdefault(launch.features(), launch)
        for distinct in kernels.values():
            chosen += [distinct[key] for key in (distinct if target == EVERY_LAUNCH else covering(distinct))]
    return chosen


def local_memory(cubin: bytes) -> int | None:
    """Bytes of stack and local memory per thread, which is where registers spill to; None where no tool can tell."""
    if not CUOBJDUMP.exists():
        return None
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        report = subprocess.run([CUOBJDUMP, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    return sum(int(size) for size in re.findall(r"\b(?:STACK|LOCAL):(\d+)", report))


def compilations(chosen: Iterable[Launch]) -> Iterator[dict[str, Any]]:
    """Yield what the compiler makes of each launch."""
    for launch in chosen:
        driver.set_active(Elsewhere(launch.target))
        compiled = launch.kernel.run(*launch.arguments, grid=launch.grid, warmup=True, **launch.options)
        binary = compiled.asm["hsaco" if launch.target == "gfx942" else "cubin"]
        yield {
            "call": launch.call,
            "kernel": launch.name,
            "target": launch.target,
            "bytes": len(binary),
            "shared_memory": compiled.metadata.shared,
            "local_memory": local_memory(binary) if launch.target == EVERY_LAUNCH else None,
        }


def main(which: str) -> None:
    """Plans and compiles, and prints."""
    share = re.fullmatch(r"(\d+)/(\d+)", which)
    chosen = plan("" if share else which)
    planned = {target: Counter(launch.name for launch in chosen if launch.target == target) for target in TARGETS}
    print(json.dumps(planned), flush=True)
    for line in compilations(chosen[int(share[1]) - 1 :: int(share[2])] if share else chosen):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
