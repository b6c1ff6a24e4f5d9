# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.rehearsal``: compiles for sm_90, without a GPU, what the benchmarks will launch on one.

Every case is run on CPU tensors with its launches noted; each distinct launch is compiled, so that a kernel that this
version of Triton cannot compile, or that asks for more than a multiprocessor has, is found before a GPU is at hand. Of
the training steps only the small one is run: the large ones take minutes on a CPU. ``--once`` compiles one launch of
every kernel.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

os.environ["TRITON_INTERPRET"] = "0"  # kernels are compiled here, and the variable counts when they are imported
os.environ.setdefault("TRITON_DISABLE_LINE_INFO", "1")  # a tenth of the time

import triton

from benchmarks.measuring import first_line
from benchmarks.prediction.binaries import cuobjdump, resources
from benchmarks.prediction.launches import Launch
from benchmarks.prediction.recording import TritonLaunch, declared, record
from benchmarks.registry import Case, discover

TARGET = "sm_90"
SHARED_BYTES = 227 << 10  # that a block may have there
CPU_ONLY = ("evaluation", "loader")  # jobs without a kernel
SLOW_ON_A_CPU = ("training_step", "inference")
# Bytes a thread may spill: the compilers of Triton before 3.7 keep a few registers fewer.
SPILLED_BYTES = 16

_launches: list[Launch] = []


def main(words: Sequence[str]) -> int:
    """Compile and print; return the exit status, 1 where something does not compile or fit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rehearsal", description=__doc__.partition("\n")[0])
    parser.add_argument("--once", action="store_true", help="one launch of every kernel")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes that compile")
    request = parser.parse_args(words)
    cases = listed()
    print(f"Triton {triton.__version__}: {sum(map(len, cases.values()))} cases of {', '.join(cases)}", flush=True)
    found, problems = launches(cases)
    _launches[:] = distinct(found, once=request.once)
    if cuobjdump() is None:
        print("registers are not looked at: there is no cuobjdump")
    with multiprocessing.get_context("fork").Pool(max(1, request.workers)) as pool:
        answers = pool.map(_compile, range(len(_launches)), chunksize=1)
    problems += [answer for answer in answers if answer]
    kernels = Counter(launch.name for launch in _launches)
    print(f"{len(_launches)} compilations of {len(kernels)} kernels for {TARGET}: {dict(kernels)}")
    for problem in problems:
        print(f"benchmarks.rehearsal: {problem}", file=sys.stderr)
    return 1 if problems else 0


def listed() -> dict[str, list[Case]]:
    """Return the cases that a GPU will be given, but for those that take a CPU minutes."""
    return {
        name: [case for case in declared(cases) if name not in SLOW_ON_A_CPU or case.scale == "small"]
        for name, cases in discover().items()
        if name not in CPU_ONLY
    }


def launches(cases: dict[str, list[Case]]) -> tuple[list[Launch], list[str]]:
    """Note what all cases launch where Triton is the first choice, and which cases fail."""
    found: list[Launch] = []
    problems = []
    for op, chosen in cases.items():
        for case in chosen:
            try:
                noted: list[Any] = record(case, TARGET, ("triton",))
            except Exception as error:  # one case must not hide what the others would say
                problems.append(f"{op}: {case.name}: {first_line(error)}")
                continue
            found += [each.launch for each in noted if isinstance(each, TritonLaunch)]
    return found, problems


def distinct(found: Iterable[Launch], *, once: bool) -> list[Launch]:
    """Drop launches of which the compiler is told the same; with ``once`` keep the first of every kernel."""
    kept: dict[Any, Launch] = {}
    for launch in found:
        kept.setdefault(launch.name if once else (launch.name, launch.features()), launch)
    return list(kept.values())


def _compile(index: int) -> str | None:
    """Compile one launch; return what is wrong with it."""
    launch = _launches[index]
    try:
        compiled = launch.compile()
        return problem(f"{launch.name} ({launch.call})", compiled.metadata.shared, compiled.asm["cubin"])
    except Exception as error:  # the compiler raises anything
        return f"{launch.name} ({launch.call}): {first_line(error)}"


def problem(name: str, shared_bytes: int, cubin: bytes) -> str | None:
    """Say what keeps a compiled kernel from running, or from running as it should; None where nothing does."""
    if shared_bytes > SHARED_BYTES:
        return f"{name} asks for {shared_bytes} bytes of shared memory, more than {SHARED_BYTES}"
    if cuobjdump() is None:
        return None
    spilled = max(found.spilled_bytes for found in resources(cubin).values())
    return f"{name} spills {spilled} bytes of registers a thread" if spilled > SPILLED_BYTES else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
