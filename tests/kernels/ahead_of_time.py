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
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

os.environ["TRITON_DISABLE_LINE_INFO"] = "1"  # a tenth of the time, and nobody reads where an instruction came from

from benchmarks.prediction import binaries
from benchmarks.prediction.launches import TARGETS, Launch, noted
from tests.kernels.calls import CALLS
from tests.kernels.covering import covering

EVERY_LAUNCH = "sm_90"


def launches(target: str, calls: Iterable[tuple[str, Callable[..., Any], tuple[Any, ...]]]) -> list[Launch]:
    """Everything that the calls launch on ``target``; nothing is compiled."""
    found: list[Launch] = []
    for name, function, arguments in calls:
        with noted(target, found.append, name):
            function(*arguments)
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
    if binaries.cuobjdump() is None:
        return None
    return sum(kernel.spilled_bytes for kernel in binaries.resources(cubin).values())


def compilations(chosen: Iterable[Launch]) -> Iterator[dict[str, Any]]:
    """Yield what the compiler makes of each launch."""
    for launch in chosen:
        compiled = launch.compile()
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
