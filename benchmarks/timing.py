# SPDX-License-Identifier: Apache-2.0
"""Several functions timed side by side, so that whatever disturbs the machine meets all of them."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.stopwatch import CudaDevice, DeviceStopwatch, HostStopwatch, Lap, Stopwatch


@dataclass(frozen=True)
class Timing:
    """Seconds per call.

    Attributes:
        median: Of all calls.
        low: Quantile 20 %.
        high: Quantile 80 %.
        rounds: Calls that count.
        ratio: Median of this function's time over the first function's.
        host: On a GPU the median time of Python, which launches; None on the CPU.
        alone: Python's time is not in the others.
    """

    median: float
    low: float
    high: float
    rounds: int
    ratio: float = 1.0
    host: float | None = None
    alone: bool = True


def measure(
    functions: Mapping[str, Callable[..., Any]],
    inputs: tuple[Any, ...],
    *,
    device: str = "cpu",
    seconds: float = 3.0,
    min_rounds: int = 5,
    cpu_time: bool = False,
    prepare: Callable[..., None] | None = None,
) -> dict[str, Timing]:
    """Time the functions in turn, round after round.

    The first call of each is not counted, except that a function whose first call takes longer than ``seconds`` is not
    called again: its one time stands, with ``rounds`` 1.

    Args:
        functions: Name -> function; the first is the one that ratios refer to.
        inputs: Arguments of all of them.
        device: "cuda" takes the time of the kernels and empties the device's cache before every call.
        seconds: To spend in all, once each has run ``min_rounds`` times.
        min_rounds: At least this many counted calls of each.
        cpu_time: Count the processor's work of all threads, where other programs share the machine (CPU only).
        prepare: Called with the inputs before each call, not timed.
    """
    shared = CudaDevice() if device == "cuda" else None
    stopwatches: dict[str, Stopwatch] = {
        name: HostStopwatch(cpu_time) if shared is None else DeviceStopwatch(shared) for name in functions
    }

    def once(name: str, timed: Callable[[Callable[[], Any]], Lap]) -> Lap:
        if prepare is not None:
            prepare(*inputs)
        return timed(lambda: functions[name](*inputs))

    first = {name: once(name, stopwatches[name].first) for name in functions}
    again = [name for name in functions if first[name].seconds <= seconds]
    taken: dict[str, list[Lap]] = {name: [] for name in again}
    deadline = time.perf_counter() + seconds
    while again and (min(map(len, taken.values())) < min_rounds or time.perf_counter() < deadline):
        laps = {name: once(name, stopwatches[name]) for name in again}
        if all(lap.counts for lap in laps.values()):
            for name, lap in laps.items():
                taken[name].append(lap)
    reference, *_ = functions
    found = {name: taken.get(name) or [first[name]] for name in functions}
    return {name: timing(laps, found[reference]) for name, laps in found.items()}


def timing(laps: Sequence[Lap], reference: Sequence[Lap]) -> Timing:
    """Summarise one function's times; ratios are taken within a round where both have as many."""
    times, others = [lap.seconds for lap in laps], [lap.seconds for lap in reference]
    low, high = times[0], times[0]
    if len(times) > 1:
        low, *_, high = statistics.quantiles(times, n=5, method="inclusive")
    if len(times) == len(others):
        ratio = statistics.median(a / b for a, b in zip(times, others, strict=True))
    else:
        ratio = statistics.median(times) / statistics.median(others)
    hosts = [lap.host for lap in laps if lap.host is not None]
    return Timing(
        median=statistics.median(times),
        low=low,
        high=high,
        rounds=len(times),
        ratio=ratio,
        host=statistics.median(hosts) if hosts else None,
        alone=all(lap.alone for lap in laps),
    )


@contextmanager
def processors(count: int | None) -> Iterator[None]:
    """Use at most ``count`` processors and PyTorch threads inside; None changes nothing.

    Native code that asks the system how many processors it may use gets the same answer where the system knows
    affinities (Linux).
    """
    if count is None:
        yield
        return
    threads = torch.get_num_threads()
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    torch.set_num_threads(count)
    if allowed is not None:
        os.sched_setaffinity(0, sorted(allowed)[:count])
    try:
        yield
    finally:
        if allowed is not None:
            os.sched_setaffinity(0, allowed)
        torch.set_num_threads(threads)
