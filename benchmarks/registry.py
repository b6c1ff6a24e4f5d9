# SPDX-License-Identifier: Apache-2.0
"""What a benchmark of an op declares, and how its runs are timed side by side.

A file ``benchmarks/ops/bench_<op>.py`` has ``def cases(device: str) -> list[Case]``. ``python -m
benchmarks.ops.bench_<op>`` prints its table.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes:
        name: sizes and options in a few words.
        make_inputs: makes the arguments of ``run`` and of the baselines; not timed.
        run: what is measured, called with the inputs.
        baselines: name -> the same work done another way.
        bytes_moved: the least that ``run`` has to read and write.
    """

    name: str
    make_inputs: Callable[[], tuple[Any, ...]]
    run: Callable[..., Any]
    baselines: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    bytes_moved: int = 0


@dataclass(frozen=True)
class Timing:
    """Seconds per call: median and the quantiles 20 % and 80 %."""

    median: float
    low: float
    high: float
    rounds: int


def measure(
    case: Case,
    *,
    device: str = "cpu",
    seconds: float = 3.0,
    min_rounds: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Times ``run`` (under the name "run") and the baselines in turn, so that disturbances meet all of them.

    Args:
        case: what to time.
        device: "cuda" waits for the device around every call.
        seconds: to spend in all, once each has run ``min_rounds`` times.
        min_rounds: at least this many calls of each, after one that is not counted.
        clock: ``time.process_time`` counts the processor's work of all threads, where other programs share the machine.
    """
    inputs = case.make_inputs()
    functions = {"run": case.run, **case.baselines}
    taken: dict[str, list[float]] = {name: [] for name in functions}
    deadline = 0.0
    while len(taken["run"]) <= min_rounds or time.perf_counter() < deadline:
        for name, function in functions.items():
            _wait(device)
            start = clock()
            function(*inputs)
            _wait(device)
            taken[name].append(clock() - start)
        deadline = deadline or time.perf_counter() + seconds
    return {name: _timing(times[1:]) for name, times in taken.items()}


def report(cases: Sequence[Case], *, device: str = "cpu") -> None:
    """Prints one line per case: median, rate, and how many times longer each baseline takes.

    ``--cpu-time`` on the command line counts processor time instead of time.
    """
    clock = time.process_time if "--cpu-time" in sys.argv else time.perf_counter
    print(f"{device}, {torch.get_num_threads()} threads, {clock.__name__}")
    for case in cases:
        timings = measure(case, device=device, clock=clock)
        own = timings.pop("run")
        ratios = ", ".join(f"{timing.median / own.median:.1f}x {name}" for name, timing in timings.items())
        rate = f"{case.bytes_moved / own.median / 1e9:6.1f} GB/s" if case.bytes_moved else ""
        print(f"{case.name:<52} {own.median * 1e3:9.3f} ms ({own.low * 1e3:.3f}-{own.high * 1e3:.3f}) {rate}  {ratios}")
        sys.stdout.flush()


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _timing(times: list[float]) -> Timing:
    low, *_, high = statistics.quantiles(times, n=5)
    return Timing(statistics.median(times), low, high, len(times))
