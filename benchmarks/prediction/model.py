# SPDX-License-Identifier: Apache-2.0
"""From counts to a predicted time: what a launch moves, executes and waits for, set against what a GPU can do."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.prediction.binaries import Binary
from benchmarks.prediction.classes import cycles, family, product
from benchmarks.prediction.devices import Device
from benchmarks.prediction.occupancy import occupancy


@dataclass(frozen=True)
class Work:
    """What one launch does.

    Attributes:
        programs: Blocks of the grid.
        threads: Of a block.
        dynamic_shared_bytes: Of a block, beside the static ones.
        bytes: Read and written once.
        counts: How often each instruction of the code is issued by all warps of a block together, on average.
        idle: How often of these its guard was false, so that it took an issue slot and nothing else.
        cycles: Of a block that has a multiprocessor to itself, waiting for memory included: how many blocks, one after
            the other in the grid, take how long each.
        tail_cycles: What the last block does when all others are done.
    """

    programs: int
    threads: int
    dynamic_shared_bytes: int
    bytes: int
    counts: Sequence[float]
    idle: Sequence[float]
    cycles: Sequence[tuple[int, float]]
    tail_cycles: float = 0.0


@dataclass(frozen=True)
class Prediction:
    """What is predicted of one launch; times in seconds, by each thing that may bound it.

    Attributes:
        blocks_per_multiprocessor: At once.
        limit: What there is no more of for another block.
        waves: Blocks over those that all multiprocessors hold at once.
        instructions: Warp instructions of the whole launch.
        by_class: Those, by class.
        times: "bytes", "issue", a unit's name, "tensor" or "latency" -> seconds.
        tail_sec: What comes after all that.
    """

    blocks_per_multiprocessor: int
    limit: str
    waves: float
    instructions: float
    by_class: Mapping[str, float]
    times: Mapping[str, float]
    tail_sec: float

    @property
    def bound(self) -> str:
        """Name what takes longest."""
        return max(self.times, key=lambda name: self.times[name])

    @property
    def seconds(self) -> float:
        """Return the time of what takes longest, everything else being assumed to go on beside it, and the tail."""
        return self.times[self.bound] + self.tail_sec


# More blocks than these are not looked at one by one.
MANY_BLOCKS = 1 << 18


def makespan(cycles: Sequence[tuple[int, float]], at_once: int) -> float:
    """Return when the last block ends, if ``at_once`` run at a time and each that ends makes room for the next.

    GPUs start blocks in the order of their index, so long blocks that come first cost less than long ones at the end.
    """
    if sum(number for number, _ in cycles) > MANY_BLOCKS:
        return sum(number * each for number, each in cycles) / at_once + max(each for _, each in cycles)
    ends = [0.0] * at_once
    for number, each in cycles:
        for _ in range(number):
            heapq.heapreplace(ends, ends[0] + each)
    return max(ends)


def predict(device: Device, binary: Binary, work: Work) -> Prediction:
    """Predict one launch; see the attributes of what it takes and gives."""
    held = occupancy(
        device,
        work.threads,
        binary.resources.registers,
        binary.resources.shared_bytes + work.dynamic_shared_bytes,
    )
    at_once = max(held.blocks, 1) * device.multiprocessors
    # The busiest multiprocessor decides: a tail, or a grid that leaves some idle, shows here.
    busiest = math.ceil(work.programs / device.multiprocessors)
    warps = math.ceil(work.threads / 32)
    partitions = min(4, warps * min(busiest, max(held.blocks, 1)))
    units: defaultdict[str, float] = defaultdict(float)
    tensor: defaultdict[str, float] = defaultdict(float)
    by_class: defaultdict[str, float] = defaultdict(float)
    for instruction, count, idle in zip(binary.code, work.counts, work.idle, strict=True):
        by_class[family(instruction)] += count * work.programs
        for unit, taken in cycles(instruction).items():
            units[unit] += taken * (count - idle)
        if (done := product(instruction)) is not None:
            tensor[done.rate] += done.flops * (count - idle)
    issued = sum(work.counts)
    times = {
        "bytes": work.bytes / device.copy_bytes,
        "issue": busiest * issued / partitions / device.clock,
        **{unit: busiest * taken / partitions / device.clock for unit, taken in units.items()},
        "latency": makespan(work.cycles, at_once) / device.clock,
    }
    if tensor:
        peak = {rate: device.dense_flops[rate] / device.multiprocessors for rate in tensor}
        times["tensor"] = busiest * sum(flops / peak[rate] for rate, flops in tensor.items())
    return Prediction(
        blocks_per_multiprocessor=held.blocks,
        limit=held.limit,
        waves=work.programs / at_once,
        instructions=issued * work.programs,
        by_class=dict(sorted(by_class.items(), key=lambda one: -one[1])),
        times=times,
        tail_sec=work.tail_cycles / device.clock,
    )
