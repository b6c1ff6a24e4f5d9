# SPDX-License-Identifier: Apache-2.0
"""Where the time of a training step goes: a trace of a few steps for Perfetto, and a table of their stages."""

from __future__ import annotations

import gzip
import shutil
import tempfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile

from asl_fast.data.collate import Batch
from asl_fast.files import atomic_write, write_json
from asl_fast.training.run_folder import RunFolder
from asl_fast.training.stages import STAGES, recorded, stage, stage_of

SKIPPED = 10
"""Steps before the first that is recorded, where the epoch has as many: caches fill, shapes are compiled."""

_OPERATORS = ("aten::", "asl_fast::")


@dataclass(frozen=True)
class StageTime:
    """What a stage takes of a step, on average.

    Attributes:
        stage: One of `asl_fast.training.stages.STAGES`, or "rest".
        host_ms: Time that Python spends in it.
        device_ms: Time of its kernels on a GPU; None on a CPU.
        share: Of the step's time on the device, or on the host where there is none.
        launches: Kernels and copies on a GPU, operators on a CPU.
    """

    stage: str
    host_ms: float
    device_ms: float | None
    share: float
    launches: float


class StepProfiler:
    """Passes the batches of training on and records some of the steps that are taken in between.

    Args:
        steps: How many to record, of the first epoch that is trained; 0 records none.
        folder: Where trace and table go.
        device: Where training computes.
    """

    def __init__(self, steps: int, folder: RunFolder, device: torch.device) -> None:
        self.wanted, self.folder, self.device = steps, folder, device

    def watched(self, batches: Iterator[Batch], count: int) -> Iterator[Batch]:
        """Bring the batches of an epoch to the device, and record its steps if they are the ones.

        Args:
            batches: Of the epoch.
            count: How many they are.
        """
        first = min(SKIPPED, max(count - self.wanted, 0))
        with ExitStack() as recording:
            profiler = None
            for step in range(count):
                if self.wanted and step == first:
                    recording.enter_context(recorded())
                    profiler = recording.enter_context(profile(activities=self._activities()))
                if profiler is not None and step == first + self.wanted:
                    self._finish(recording, profiler, step - first)
                    profiler = None
                with stage("loader"):
                    batch = next(batches).to(self.device, non_blocking=True)
                yield batch
            if profiler is not None:
                self._finish(recording, profiler, count - first)

    def _activities(self) -> list[ProfilerActivity]:
        on_gpu = [ProfilerActivity.CUDA] if self.device.type == "cuda" else []
        return [ProfilerActivity.CPU, *on_gpu]

    def _finish(self, recording: ExitStack, profiler: profile, steps: int) -> None:
        """Write trace and table, and print the table."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        recording.close()
        self.wanted = 0
        _write_trace(profiler, self.folder.trace)
        events = profiler.events() or ()  # type: ignore[no-untyped-call]
        table = stage_table(events, steps, on_gpu=self.device.type == "cuda")
        record = {"steps": steps, "device": str(self.device), "stages": [asdict(row) for row in table]}
        write_json(self.folder.stages, record, indent=2)
        print(f"\n{steps} steps recorded on {self.device}, per step:")
        print("\n".join(table_lines(table)))
        if any(row.stage == "graph" for row in table):
            print("a replayed graph is one stage; --graph off --profile N tells its stages apart")
        print(f"trace for https://ui.perfetto.dev: {self.folder.trace}", flush=True)


def _write_trace(profiler: profile, path: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / "trace.json"
        profiler.export_chrome_trace(str(plain))
        with plain.open("rb") as source, atomic_write(path) as file, gzip.GzipFile(fileobj=file, mode="wb") as packed:
            shutil.copyfileobj(source, packed)


def stage_table(events: Iterable[Any], steps: int, *, on_gpu: bool) -> list[StageTime]:
    """Add up the events of PyTorch's profiler by stage.

    An event belongs to the stage in whose time it starts, whatever its thread: backward runs in one of its own on a
    GPU, while the stage waits for it.

    Args:
        events: ``name``, ``time_range`` in microseconds, ``device_type``, ``cpu_parent`` and ``kernels``.
        steps: How many steps they are of.
        on_gpu: Whether kernels were recorded.
    """
    on_host = [event for event in events if event.device_type == DeviceType.CPU]
    ranges = sorted(
        (event.time_range.start, event.time_range.end, name) for event in on_host if (name := stage_of(event.name))
    )
    starts = [start for start, _, _ in ranges]
    host, device, launches = ({name: 0.0 for name in (*STAGES, "rest")} for _ in range(3))
    for start, end, name in ranges:
        host[name] += end - start
    if ranges:
        host["rest"] = max(end for _, end, _ in ranges) - starts[0] - sum(host.values())
    for event in on_host:
        place = bisect_right(starts, event.time_range.start) - 1
        inside = place >= 0 and event.time_range.start <= ranges[place][1]
        name = ranges[place][2] if inside else "rest"
        if on_gpu:
            launches[name] += len(event.kernels)
            device[name] += sum(kernel.duration for kernel in event.kernels)
        elif event.name.startswith(_OPERATORS) and not _within_operator(event):
            launches[name] += 1
    whole = sum((device if on_gpu else host).values()) or 1.0
    return [
        StageTime(
            name,
            host[name] / 1e3 / steps,
            device[name] / 1e3 / steps if on_gpu else None,
            (device if on_gpu else host)[name] / whole,
            launches[name] / steps,
        )
        for name in host
        if host[name] or launches[name]
    ]


def _within_operator(event: Any) -> bool:
    parent = event.cpu_parent
    while parent is not None:
        if parent.name.startswith(_OPERATORS):
            return True
        parent = parent.cpu_parent
    return False


def table_lines(table: Sequence[StageTime]) -> Iterator[str]:
    """Put a table of stages into lines, with their sum."""
    on_gpu = any(row.device_ms is not None for row in table)
    yield f"{'stage':10s} {'host ms':>9s}{' device ms' if on_gpu else ''} {'share':>6s} " + (
        " launches" if on_gpu else "operators"
    )
    device = sum(row.device_ms or 0.0 for row in table) if on_gpu else None
    host, launches = sum(row.host_ms for row in table), sum(row.launches for row in table)
    for row in (*table, StageTime("step", host, device, 1.0, launches)):
        on_device = f" {row.device_ms:9.2f}" if row.device_ms is not None else ""
        yield f"{row.stage:10s} {row.host_ms:9.2f}{on_device} {row.share:6.1%} {row.launches:9.0f}"
