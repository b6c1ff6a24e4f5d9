# SPDX-License-Identifier: Apache-2.0
"""``python benchmarks/run.py``: every op and job, against what else does the same work.

Columns: median and the 20 % and 80 % quantiles of the time of a call; the rate at which it moves the least bytes it has
to (or does its arithmetic, or its samples); that rate as a share of what a large copy (of arithmetic: any library)
reaches on this machine in the same run, which what fits into a cache exceeds; of whole steps and detection, the time as
a multiple of the least that their products, convolutions and attention can take; the peak of the memory that a call
needs on top of its inputs; and how many times longer each other way takes, both measured in turn. A side that cannot
run shows "-", and the JSON file says why. A case that fails stands in the table with the reason, and the table goes on.

That least time is given twice. "x floor" is against torch.mm of large matrices, as a matrix rate is commonly
understood; "x best" against the highest rate that any library reached in the same run. They differ on a CPU, where
PyTorch gives products to MKL and convolutions to oneDNN: on processors that are not Intel's the second is up to twice
as fast. A step whose linear layers run as convolutions can therefore be below 1 of the floor, and is never below 1 of
the best.

On a GPU the time is that of the kernels, all of them in the queue before the first starts; what Python takes to launch
them stands beside it. An asterisk: they could not be held back, and Python's time is in the other columns too.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

if __package__ in (None, ""):  # started as a file: the checkout, not its folder benchmarks, holds the modules
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch

from asl_fast import ops
from asl_fast.backend import forced_backend
from asl_fast.wording import closest
from benchmarks import actionformer, record, table
from benchmarks.measuring import Options, Record, measure_case
from benchmarks.registry import Case, discover
from benchmarks.roofline import ceilings

QUICK_SCALES = ("small", "real")
FULL_SCALES = ("real", "large")


def main(arguments: Sequence[str]) -> int:
    """Measure, print and write; return the exit status: 1 where a case failed, 2 for a request that is refused."""
    found = discover()
    parser = _parser(list(found))
    request = parser.parse_args(arguments)
    problem = _problem(request, list(found))
    if problem:
        print(f"benchmarks/run.py: {problem}", file=sys.stderr)
        return 2
    if request.threads:
        torch.set_num_threads(request.threads)
    try:
        cases = {name: _selected(found[name](request.device), request) for name in request.op or found}
        actionformer.load()
    except actionformer.ActionFormerError as error:
        print(f"benchmarks/run.py: {error}", file=sys.stderr)
        return 2
    if not any(cases.values()):
        print("benchmarks/run.py: no case is left; --list shows their names", file=sys.stderr)
        return 2
    if request.list:
        print("\n".join(f"{op}: {case.name} ({case.scale})" for op, chosen in cases.items() for case in chosen))
        return 0
    if slow := _not_ours(request.device):
        print(f"benchmarks/run.py: {slow}", file=sys.stderr)
        return 2
    measured = ceilings(request.device, quick=request.quick, cpu_time=request.cpu_time)
    options = Options(
        device=request.device,
        seconds=request.seconds or (0.3 if request.quick else 3.0),
        min_rounds=3 if request.quick else 5,
        cpu_time=request.cpu_time,
        check=not request.no_check,
        compile_seconds=0.0 if request.quick or request.no_compile else request.compile_seconds,
        memory=True,
        case_seconds=request.case_seconds,
        ceilings=measured,
    )
    clock = "processor time" if request.cpu_time else "time"
    if forced := forced_backend():
        print(f"every op is forced to {forced}")
    print(f"{record.device_name(request.device)}, {torch.get_num_threads()} threads, {clock}; ", end="")
    print(measured.words())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    records: list[Record] = []
    end = time.monotonic() + request.total_seconds if request.total_seconds else math.inf
    try:
        for op, chosen in cases.items():
            for case in chosen:
                _progress(f"{op}: {case.name}")
                records.append(_measured(op, case, options, end - time.monotonic()))
                if request.json:
                    record.write(request.json, record.make(records, options, arguments))
    finally:  # an interrupted run shows what it measured
        _progress("")
        rows = table.rows(records)
        print(table.markdown(rows) if request.markdown else table.text(rows), flush=True)
    failed = [each for each in records if "failed" in each]
    for each in failed:
        print(f"benchmarks/run.py: {each['op']}: {each['case']} {each['missing']}", file=sys.stderr)
    return 1 if failed else 0


def _measured(op: str, case: Case, options: Options, left: float) -> Record:
    """Measure a case within the time that is left for all of them."""
    if left <= 0:
        return {"op": op, "case": case.name, "scale": case.scale, "missing": "no time was left"}
    if math.isfinite(left):
        options = replace(options, case_seconds=min(left, options.case_seconds or left))
    return measure_case(op, case, options)


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _parser(names: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python benchmarks/run.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--op", action="append", metavar="NAME", help=f"only this one, repeatable: {', '.join(names)}")
    parser.add_argument("--case", metavar="TEXT", help="only cases whose name contains TEXT")
    parser.add_argument("--quick", action="store_true", help="small and real sizes, short, without torch.compile")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured to FILE")
    parser.add_argument("--markdown", action="store_true", help="print the table in Markdown")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="PyTorch threads; 0 leaves its own choice")
    parser.add_argument("--seconds", type=float, default=0.0, metavar="S", help="of each case (3; quick: 0.3)")
    parser.add_argument("--cpu-time", action="store_true", help="processor time, where other programs use the machine")
    parser.add_argument("--compile-seconds", type=float, default=60.0, metavar="S", help="for torch.compile of a case")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--case-seconds", type=float, default=0.0, metavar="S", help="give a case up after S; 0: never")
    parser.add_argument("--total-seconds", type=float, default=0.0, metavar="S", help="for all cases; 0: no limit")
    parser.add_argument("--no-check", action="store_true", help="do not first compare the results of all sides")
    parser.add_argument("--list", action="store_true", help="print the names of the cases and stop")
    return parser


def _problem(request: argparse.Namespace, names: Sequence[str]) -> str | None:
    for name in request.op or ():
        if name not in names:
            near = closest(name, names)
            hint = f"did you mean {near}? " if near is not None else ""
            return f"no benchmark {name!r}; {hint}There are {', '.join(names)}"
    if request.device == "cuda" and not torch.cuda.is_available():
        return "--device cuda needs a GPU and a CUDA build of torch; python -m asl_fast.env says what is missing"
    if request.device == "cuda" and request.cpu_time:
        return "--cpu-time says nothing about a GPU; leave it out"
    limits = (request.threads, request.seconds, request.case_seconds, request.total_seconds)
    if min(limits) < 0 or request.compile_seconds <= 0:
        return "--threads and all --seconds must not be negative, --compile-seconds must be positive"
    return None


def _not_ours(device: str) -> str | None:
    """Say why a time measured here would be one of the reference, set up as another side, and not of compiled code."""
    slow = ops.slow_ops(device)
    if not slow:
        return None
    op, reason = next(iter(slow.items()))
    more = f" and {len(slow) - 1} more ops run" if len(slow) > 1 else " runs"
    return (
        f"{op}{more} on the reference, which is what others are compared with: {reason}. ASL_FAST_BACKEND=reference "
        "measures it on purpose"
    )


def _selected(cases: Sequence[Case], request: argparse.Namespace) -> list[Case]:
    scales = QUICK_SCALES if request.quick else FULL_SCALES
    if request.list or request.case:
        scales = ("small", "real", "large")
    return [case for case in cases if case.scale in scales and (not request.case or request.case in case.name)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
