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

FLUSHED_BYTES = 256 << 20  # more than any GPU's last cache


@dataclass(frozen=True)
class Timing:
    """Seconds per call: median and the quantiles 20 % and 80 %; ``ratio`` is the median of time over the first's."""

    median: float
    low: float
    high: float
    rounds: int
    ratio: float = 1.0


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
        device: "cuda" takes device events and empties the device's cache before every call.
        seconds: To spend in all, once each has run ``min_rounds`` times.
        min_rounds: At least this many counted calls of each.
        cpu_time: Count the processor's work of all threads, where other programs share the machine (CPU only).
        prepare: Called with the inputs before each call, not timed.
    """
    stopwatch = _device_stopwatch() if device == "cuda" else _host_stopwatch(cpu_time)

    def once(function: Callable[..., Any]) -> float:
        if prepare is not None:
            prepare(*inputs)
        return stopwatch(lambda: function(*inputs))

    first = {name: once(function) for name, function in functions.items()}
    again = {name: function for name, function in functions.items() if first[name] <= seconds}
    taken: dict[str, list[float]] = {name: [] for name in again}
    deadline = time.perf_counter() + seconds
    while again and (min(map(len, taken.values())) < min_rounds or time.perf_counter() < deadline):
        for name, function in again.items():
            taken[name].append(once(function))
    reference, *_ = functions
    times = {name: taken.get(name) or [first[name]] for name in functions}
    return {name: timing(times[name], times[reference]) for name in functions}


def timing(times: Sequence[float], reference: Sequence[float]) -> Timing:
    """Summarise one function's times; ratios are taken within a round where both have as many."""
    low, high = times[0], times[0]
    if len(times) > 1:
        low, *_, high = statistics.quantiles(times, n=5, method="inclusive")
    if len(times) == len(reference):
        ratio = statistics.median(a / b for a, b in zip(times, reference, strict=True))
    else:
        ratio = statistics.median(times) / statistics.median(reference)
    return Timing(statistics.median(times), low, high, len(times), ratio)


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


def _host_stopwatch(cpu_time: bool) -> Callable[[Callable[[], Any]], float]:
    clock = time.process_time if cpu_time else time.perf_counter

    def stopwatch(call: Callable[[], Any]) -> float:
        start = clock()
        result = call()
        elapsed = clock() - start
        del result  # freeing it is not part of the work
        return elapsed

    return stopwatch


def _device_stopwatch() -> Callable[[Callable[[], Any]], float]:
    flushed = torch.empty(FLUSHED_BYTES, dtype=torch.int8, device="cuda")
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def stopwatch(call: Callable[[], Any]) -> float:
        flushed.zero_()
        torch.cuda.synchronize()  # so that the time holds the launches too, as in a program that does nothing else
        start.record()
        call()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1e3

    return stopwatch
