# SPDX-License-Identifier: Apache-2.0
"""From a noted launch to what it does: compiled, and a few of its warps run through the code."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

from torch import Tensor

from benchmarks.prediction.binaries import Binary, kernels
from benchmarks.prediction.cuda_binaries import cuda_kernels
from benchmarks.prediction.devices import Device
from benchmarks.prediction.execution import DoesNotEnd, Latencies, execute
from benchmarks.prediction.machine import Place, Region, Value
from benchmarks.prediction.model import Work
from benchmarks.prediction.recording import NativeLaunch, TritonLaunch
from benchmarks.prediction.rounds import rounds_of_blocks

# Blocks of a grid that are run: the first, the last, and some between, evenly, and where these differ, some more; they
# stand for the rest.
SAMPLES = 7
MEMORY_CYCLES, CACHED_CYCLES = 600, 300
_FORMATS = {"i1": "b", "i8": "b", "u8": "B", "i16": "h", "u16": "H", "i32": "i", "u32": "I", "i64": "q", "u64": "Q"}
_FORMATS |= {"fp32": "f", "fp64": "d"}


class Counted(NamedTuple):
    """Attributes: the ``binary``, the ``work``, ``assumed`` branches by address, and why not all was run, or None."""

    binary: Binary
    work: Work
    assumed: tuple[int, ...]
    problem: str | None


class _Block(NamedTuple):
    """Attributes: what some blocks issue, ``counts`` and ``idle`` as in :class:`Work`, and the ``cycles`` of them."""

    counts: Sequence[float]
    idle: Sequence[float]
    cycles: float

    def plus(self, other: _Block, times: float) -> _Block:
        """Add another so many times."""
        return _Block(
            [have + times * more for have, more in zip(self.counts, other.counts, strict=True)],
            [have + times * more for have, more in zip(self.idle, other.idle, strict=True)],
            self.cycles + times * other.cycles,
        )

    def unlike(self, other: _Block) -> bool:
        """Tell whether one issues more than half as much again as the other."""
        less, more = sorted((sum(self.counts), sum(other.counts)))
        return more > 1.5 * less


@cache
def _kernels(cubin: bytes) -> dict[str, Binary]:
    return kernels(cubin)


def count(
    noted: TritonLaunch | NativeLaunch, device: Device, rounds: Mapping[str, int], *, skips: bool = False
) -> Counted:
    """Compile a launch and count what it executes.

    Args:
        noted: The launch.
        device: Which the grid runs on.
        rounds: Of loops whose length depends on data, by the kernel's name; 1 where nothing is stated.
        skips: Count the least where conditions depend on data, and not the most.

    Raises:
        RuntimeError: A CUDA kernel cannot be compiled here.
    """
    if isinstance(noted, NativeLaunch):
        return count_blocks(
            cuda_kernels(noted.files, device.arch)[noted.launch.name],
            device,
            grid=noted.launch.grid,
            threads=noted.launch.threads,
            dynamic_shared_bytes=noted.launch.dynamic_shared_bytes,
            bytes_moved=noted.bytes,
            parameters=noted.launch.parameters,
            memory=noted.memory,
            rounds=rounds.get(noted.name, 1),
            skips=skips,
        )
    compiled = noted.launch.compile()
    binary = _kernels(compiled.asm["cubin"])[compiled.metadata.name]
    return count_blocks(
        binary,
        device,
        grid=noted.launch.grid,
        threads=32 * compiled.metadata.num_warps,
        dynamic_shared_bytes=compiled.metadata.shared,
        bytes_moved=noted.bytes,
        parameters=triton_parameters(compiled.src.signature, noted.launch.named),
        memory=noted.memory,
        rounds=rounds_of_blocks(noted.name, noted.launch.named, noted.truth) or rounds.get(noted.name, 1),
        skips=skips,
    )


def triton_parameters(signature: Mapping[str, str], named: Mapping[str, Any]) -> bytes:
    """Lay out the arguments as Triton passes them: in order, aligned to their size, without what became a constant."""
    laid = b""
    for name, kind in signature.items():
        if kind == "constexpr":
            continue
        value = named[name]
        if kind.startswith("*"):
            form, value = "Q", value.data_ptr() if isinstance(value, Tensor) else 0
        else:
            form = _FORMATS[kind]
        size = struct.calcsize(form)
        laid = laid.ljust(math.ceil(len(laid) / size) * size, b"\0") + struct.pack(f"<{form}", value)
    return laid


def count_blocks(
    binary: Binary,
    device: Device,
    *,
    grid: Sequence[int],
    threads: int,
    dynamic_shared_bytes: int,
    bytes_moved: int,
    parameters: bytes,
    memory: tuple[Region, ...] = (),
    rounds: int | Sequence[int] = 1,
    skips: bool = False,
) -> Counted:
    """Run some warps of some blocks of a grid.

    Args:
        binary: The kernel.
        device: The GPU.
        grid: Blocks by axis.
        threads: Of a block.
        dynamic_shared_bytes: Of a block.
        bytes_moved: By the whole launch, from and to memory.
        parameters: Bytes of the arguments.
        memory: What loads may read.
        rounds: Of a loop whose length depends on what nobody knows; a number for all blocks, or one for each.
        skips: Count the least where conditions depend on it.
    """
    x, y, z, *_ = *grid, 1, 1
    shape = (x, y, z)
    programs = math.prod(shape)
    latencies = Latencies(memory=MEMORY_CYCLES if bytes_moved > device.l2_bytes else CACHED_CYCLES)
    warps = math.ceil(threads / 32)
    # The first two warps stand for themselves and the last for all others.
    shares = {0: 1, 1: 1, warps - 1: warps - 2} if warps > 2 else dict.fromkeys(range(warps), 1)

    def run_block(block: int, atomic: Value = 0, skips: bool = skips, rounds: int = 1) -> _Block:
        shared: dict[int, Value] = {}
        place = Place(
            block=(block % shape[0], block // shape[0] % shape[1], block // (shape[0] * shape[1])),
            thread=0,
            grid=shape,
            threads=threads,
            parameters=parameters,
            first_parameter=device.first_parameter,
            memory=memory,
            atomic=atomic,
        )
        block_of_warps = _Block([0.0] * len(binary.code), [0.0] * len(binary.code), 0.0)
        for warp, share in shares.items():
            run = execute(binary.code, place._replace(thread=32 * warp), shared, latencies, rounds, skips=skips)
            assumed.update(run.assumed)
            longest = max(block_of_warps.cycles, run.cycles)
            block_of_warps = block_of_warps.plus(_Block(run.counts, run.idle, 0.0), share)._replace(cycles=longest)
        return block_of_warps

    first_samples = (
        sorted({round(at * (programs - 1) / (SAMPLES - 1)) for at in range(SAMPLES)}) if programs > 1 else [0]
    )
    total, cycles = _Block([0.0] * len(binary.code), [0.0] * len(binary.code), 0.0), list[tuple[int, float]]()
    assumed, tail, problem = set[int](), 0.0, None
    try:
        found = {block: run_block(block, rounds=rounds if isinstance(rounds, int) else 1) for block in first_samples}
        for low, high in pairwise(first_samples):
            # Where blocks of another kind begin.
            while high - low > max(programs // 64, 1) and found[low].unlike(found[high]):
                middle = (low + high) // 2
                found[middle] = run_block(middle, rounds=rounds if isinstance(rounds, int) else 1)
                low, high = (low, middle) if found[low].unlike(found[middle]) else (middle, high)
        sampled = sorted(found)
        # Each stands for what lies nearest to it.
        ends = [*((low + high + 1) // 2 for low, high in pairwise(sampled)), programs]
        for block, first, end in zip(sampled, [0, *ends], ends, strict=False):
            one = found[block]
            total = total.plus(one, end - first)
            if isinstance(rounds, int):
                cycles.append((end - first, one.cycles))
            else:
                # A round more costs what the second costs beside the first.
                more = run_block(block, rounds=2).plus(one, -1)
                total = total.plus(more, sum(rounds[first:end]) - (end - first))
                cycles += [(1, one.cycles + (each - 1) * more.cycles) for each in rounds[first:end]]
        if programs > 1 and any(one.base in ("ATOM", "ATOMG") for one in binary.code):
            # Counters tell the last block that it is the last of some, and of all; what it then does begins when all
            # others are done. Whatever hangs on a counter is done where nobody knows what the counter says.
            last, usual = (run_block(sampled[-1], atomic, skips=False).cycles for atomic in (None, 0))
            tail = max(0.0, last - usual)
    except DoesNotEnd as error:
        problem, cycles = str(error), [(programs, 0.0)]
        total = _Block([float(programs)] * len(binary.code), [0.0] * len(binary.code), 0.0)
    work = Work(
        programs=programs,
        threads=threads,
        dynamic_shared_bytes=dynamic_shared_bytes,
        bytes=bytes_moved,
        counts=[number / programs for number in total.counts],
        idle=[number / programs for number in total.idle],
        cycles=cycles,
        tail_cycles=tail,
    )
    return Counted(binary, work, tuple(sorted(assumed)), problem)
