# SPDX-License-Identifier: Apache-2.0
"""What a GPU's stopwatch makes of a call, on a device that is played: a queue, kernels and a clock of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from benchmarks import timing
from benchmarks.stopwatch import FIRST_HOLD, LONGEST_HOLD, DeviceStopwatch, HostStopwatch, Lap
from benchmarks.table import rows

US = 1e-6
FLUSH = 80 * US


@dataclass
class Played:
    """A GPU that takes its work in order, and a host that puts it there; ``now`` is the host's time."""

    now: float = 0.0
    free_at: float = 0.0  # when everything that was put into the queue is done
    capacity: int = 1024
    waiting: list[float] = field(default_factory=list)  # ends of the kernels in the queue

    def launch(self, host: float, work: float) -> None:
        """Take ``host`` seconds of Python to put ``work`` seconds of a kernel into the queue."""
        self.now += host
        self.waiting = [end for end in self.waiting if end > self.now]
        if len(self.waiting) >= self.capacity:  # as a driver does: the host has to wait for a place
            self.now = sorted(self.waiting)[len(self.waiting) - self.capacity]
        self.free_at = max(self.free_at, self.now) + work
        self.waiting.append(self.free_at)

    def flush(self) -> None:
        self.launch(0.0, FLUSH)

    def spin(self, seconds: float) -> None:
        self.launch(0.0, seconds)

    def mark(self) -> float:
        return max(self.free_at, self.now)

    def reached(self, mark: float) -> bool:
        return self.now >= mark

    def between(self, start: float, end: float) -> float:
        return end - start

    def wait(self) -> None:
        self.now = max(self.now, self.free_at)


def settled(call: Callable[[Played], None], device: Played | None = None) -> tuple[Lap, int]:
    """Return the first lap that counts, and how many came before it."""
    played = device or Played()
    watch = DeviceStopwatch(played, clock=lambda: played.now)
    first = watch.first(lambda: call(played))
    assert not first.alone
    for before in range(20):
        lap = watch(lambda: call(played))
        if lap.counts:
            return lap, before
    raise AssertionError("never settles")


def test_the_time_of_a_small_kernel_is_not_that_of_python() -> None:
    lap, before = settled(lambda device: device.launch(host=50 * US, work=5 * US))
    assert lap.seconds == pytest.approx(5 * US) and lap.host == pytest.approx(50 * US)
    assert lap.alone and before == 0


def test_gaps_between_kernels_are_pythons() -> None:
    def call(device: Played) -> None:
        for _ in range(6):
            device.launch(host=100 * US, work=10 * US)

    lap, _ = settled(call)
    assert lap.seconds == pytest.approx(60 * US) and lap.host == pytest.approx(600 * US)


def test_long_python_holds_the_device_longer() -> None:
    lap, before = settled(lambda device: device.launch(host=8e-3, work=1e-3))
    assert lap.seconds == pytest.approx(1e-3) and lap.alone and before >= 1
    assert FIRST_HOLD < 8e-3


def test_a_call_that_waits_for_the_device_is_timed_with_python_and_says_so() -> None:
    def call(device: Played) -> None:
        device.launch(host=20 * US, work=30 * US)
        device.wait()
        device.launch(host=20 * US, work=30 * US)

    lap, _ = settled(call)
    assert not lap.alone and lap.seconds == pytest.approx(100 * US)


def test_more_launches_than_the_queue_holds() -> None:
    def call(device: Played) -> None:
        for _ in range(3000):
            device.launch(host=10 * US, work=5 * US)

    lap, _ = settled(call)
    assert not lap.alone and lap.seconds == pytest.approx(3000 * 10 * US, rel=0.01)


def test_a_first_call_that_compiles_does_not_decide_how_the_others_are_timed() -> None:
    times = iter([10.0])
    lap, before = settled(lambda device: device.launch(host=next(times, 50 * US), work=5 * US))
    assert lap.alone and lap.seconds == pytest.approx(5 * US) and before == 0


def test_no_hold_is_longer_than_the_longest() -> None:
    lap, _ = settled(lambda device: device.launch(host=LONGEST_HOLD, work=5 * US))
    assert not lap.alone


def test_on_the_cpu_there_is_no_time_of_python_apart() -> None:
    lap = HostStopwatch(cpu_time=False)(lambda: sum(range(1000)))
    assert lap.seconds > 0 and lap.host is None and lap.counts


def test_measuring_on_a_device_gives_both_times(monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played()
    monkeypatch.setattr(timing, "CudaDevice", lambda: played)
    monkeypatch.setattr(timing, "DeviceStopwatch", lambda device: DeviceStopwatch(device, clock=lambda: played.now))
    sides = {
        "run": lambda: played.launch(40 * US, 10 * US),
        "slow": lambda: [played.launch(5e-3, 25 * US) for _ in range(2)],
        "waits": lambda: (played.launch(30 * US, 10 * US), played.wait()),
    }
    found = timing.measure(sides, (), device="cuda", seconds=0.05, min_rounds=3)
    assert found["run"].median == pytest.approx(10 * US) and found["run"].host == pytest.approx(40 * US)
    assert found["slow"].ratio == pytest.approx(5.0) and found["slow"].alone
    assert not found["waits"].alone and found["waits"].median == pytest.approx(40 * US)
    assert len({timed.rounds for timed in found.values()}) == 1 <= found["run"].rounds - 2


def test_the_table_has_a_column_of_python_where_a_gpu_was_measured() -> None:
    common = {"op": "op", "scale": "real", "low_sec": 1e-5, "high_sec": 1e-5, "median_sec": 1e-5, "baselines": {}}
    records = [
        {**common, "case": "one", "host_sec": 4e-5, "kernels_alone": True},
        {**common, "case": "two", "host_sec": 4e-5, "kernels_alone": False},
        {"op": "op", "case": "three", "scale": "real", "missing": "failed: no reason"},
    ]
    header, *body = rows(records)
    assert header[4] == "Python" and [row[4] for row in body] == ["40 µs", "40 µs*", "-"]
    assert len({len(row) for row in (header, *body)}) == 1 and "Python" not in rows(records[2:])[0]
