# SPDX-License-Identifier: Apache-2.0
"""How long one call takes: on the CPU by a clock, on a GPU by the device's own, apart from the time Python takes.

A GPU is first given something to wait on, then the call, so that all of the call's kernels stand in its queue before
the first of them starts: what passes between its two marks is the work of the kernels, as in a program that runs ahead
of its GPU, or in a CUDA graph. Without that a kernel of 5 us beside 50 us of Python would be timed as 55. A call that
waits for the device itself, or starts more than a queue holds, cannot be timed so: its time holds Python too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch

FLUSHED_BYTES = 256 << 20  # more than any GPU's last cache
FIRST_HOLD, LONGEST_HOLD = 1e-3, 50e-3  # seconds that a GPU is kept waiting
CYCLES_PER_SECOND = 2e9  # of a GPU's clock, at most: a slower one waits longer


class Lap(NamedTuple):
    """One timed call.

    Attributes:
        seconds: That the call took: on a GPU, of its kernels.
        host: Seconds of Python until the call returned; None where the CPU does the work.
        alone: No time of Python is in ``seconds``.
        counts: It was timed as the others of its side; otherwise the stopwatch is still finding out how.
    """

    seconds: float
    host: float | None = None
    alone: bool = True
    counts: bool = True


class Stopwatch(Protocol):
    """Times calls of one function."""

    def first(self, call: Callable[[], Any]) -> Lap:
        """Time a call that may have to compile or to load something."""

    def __call__(self, call: Callable[[], Any]) -> Lap:
        """Time a call."""


class HostStopwatch:
    """Times what the CPU does: by the clock, or with ``cpu_time`` by the processor's work of all threads."""

    def __init__(self, cpu_time: bool) -> None:
        self.clock = time.process_time if cpu_time else time.perf_counter

    def __call__(self, call: Callable[[], Any]) -> Lap:
        """Time a call; freeing its result is not part of the work."""
        start = self.clock()
        result = call()
        elapsed = self.clock() - start
        del result
        return Lap(elapsed)

    first = __call__


class Device(Protocol):
    """What is asked of a GPU; everything but ``wait`` is put into its queue."""

    def flush(self) -> None:
        """Empty its caches."""

    def spin(self, seconds: float) -> None:
        """Do nothing for at least so long."""

    def mark(self) -> Any:
        """Note when the queue comes here."""

    def reached(self, mark: Any) -> bool:
        """Tell whether it has come there."""

    def between(self, start: Any, end: Any) -> float:
        """Seconds between two marks."""

    def wait(self) -> None:
        """Wait until the queue is empty."""


class DeviceStopwatch:
    """Times what a GPU does for one function."""

    def __init__(self, device: Device, clock: Callable[[], float] = time.perf_counter) -> None:
        self.device, self.clock = device, clock
        self.hold = FIRST_HOLD  # 0: this function cannot be timed apart from Python

    def first(self, call: Callable[[], Any]) -> Lap:
        """Time a call with whatever it compiles or loads."""
        seconds, host, _ = self._timed(call, 0.0)
        return Lap(seconds, host, alone=False)

    def __call__(self, call: Callable[[], Any]) -> Lap:
        """Time a call; the GPU is held longer next time where it was not held long enough."""
        hold = self.hold
        seconds, host, held = self._timed(call, hold)
        if hold and not held:
            longer = max(4 * hold, 2 * host)
            self.hold = longer if longer <= LONGEST_HOLD else 0.0
        return Lap(seconds, host, alone=held, counts=held or not hold)

    def _timed(self, call: Callable[[], Any], hold: float) -> tuple[float, float, bool]:
        device = self.device
        device.flush()
        device.wait()
        if hold:
            device.spin(hold)
        start = device.mark()
        begin = self.clock()
        result = call()
        host = self.clock() - begin
        held = bool(hold) and not device.reached(start)
        end = device.mark()
        device.wait()
        del result
        return device.between(start, end), host, held


class CudaDevice:
    """The current CUDA device and stream."""

    def __init__(self) -> None:
        self.flushed = torch.empty(FLUSHED_BYTES, dtype=torch.int8, device="cuda")

    def flush(self) -> None:
        """Write more than the last cache holds."""
        self.flushed.zero_()

    def spin(self, seconds: float) -> None:
        """Count cycles on the device."""
        torch.cuda._sleep(int(seconds * CYCLES_PER_SECOND))

    def mark(self) -> torch.cuda.Event:
        """Record an event."""
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def reached(self, mark: torch.cuda.Event) -> bool:
        """Ask the event."""
        return bool(mark.query())

    def between(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        """Take the device's own time."""
        return float(start.elapsed_time(end)) / 1e3

    def wait(self) -> None:
        """Synchronise."""
        torch.cuda.synchronize()
