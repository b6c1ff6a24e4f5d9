# SPDX-License-Identifier: Apache-2.0
"""Counts kernels that are small enough to count by hand: ``python -m tests.kernels.ledger_toys`` prints JSON lines."""

from __future__ import annotations

import json
from typing import Any

import torch
import triton
import triton.language as tl
from asl_fast.kernels import _launch

from benchmarks.prediction.counting import count
from benchmarks.prediction.devices import DEVICES
from benchmarks.prediction.launches import Launch, noted
from benchmarks.prediction.machine import Region
from benchmarks.prediction.model import predict
from benchmarks.prediction.recording import TritonLaunch

ROWS = 1 << 20


@triton.jit
def multiply_add_kernel(x_ptr, y_ptr, out_ptr, factor, BLOCK: tl.constexpr):
    """Set out = factor * x + y; there are exactly as many programs as blocks."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out_ptr + at, factor * tl.load(x_ptr + at) + tl.load(y_ptr + at))


@triton.jit(do_not_specialize=["count"])
def add_up_kernel(x_ptr, out_ptr, count, BLOCK: tl.constexpr):
    """Set out[0] to the sum of x[:count], by one program."""
    lanes = tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), tl.float32)
    for first in range(0, count, BLOCK):
        total += tl.load(x_ptr + first + lanes, mask=first + lanes < count, other=0.0)
    tl.store(out_ptr, tl.sum(total, 0))


@triton.jit
def nested_kernel(x_ptr, bounds_ptr, out_ptr, outer, divisor, BLOCK: tl.constexpr):
    """Add up blocks of x in loops of ``outer`` and, within, of bounds[0] // divisor rounds, which only memory knows."""
    lanes = tl.arange(0, BLOCK)
    inner = tl.load(bounds_ptr) // divisor
    total = tl.zeros((BLOCK,), tl.float32)
    for i in range(outer):
        for j in range(inner):
            total += tl.load(x_ptr + (i * inner + j) * BLOCK + lanes)
        total *= 0.5
    tl.store(out_ptr + tl.program_id(0) * BLOCK + lanes, total)


def counted(target: str, launcher: Any, known: tuple[torch.Tensor, ...] = ()) -> dict[str, Any]:
    """Count the one launch of a launcher."""
    found: list[Launch] = []
    with noted(target, found.append):
        launcher()
    memory = tuple(Region(x.data_ptr(), x.nbytes) for x in known)
    result = count(TritonLaunch(found[0], memory), DEVICES[target], {})
    predicted = predict(DEVICES[target], result.binary, result.work)
    return {
        "kernel": found[0].name,
        "target": target,
        "registers": result.binary.resources.registers,
        "spilled": result.binary.resources.spilled_bytes,
        "shared": result.binary.resources.shared_bytes + result.work.dynamic_shared_bytes,
        "bytes": result.work.bytes,
        "programs": result.work.programs,
        "blocks": predicted.blocks_per_multiprocessor,
        "by_class": predicted.by_class,
        "bound": predicted.bound,
        "times": predicted.times,
        "assumed": len(result.assumed),
        "problem": result.problem,
    }


def main() -> None:
    """Count every toy."""
    x, y, out = (torch.empty(ROWS) for _ in range(3))
    for target in DEVICES:
        grid = (ROWS // 1024,)
        print(
            json.dumps(
                counted(
                    target,
                    lambda grid=grid: _launch.launch(
                        multiply_add_kernel, grid, x, y, out, 2.0, BLOCK=1024, num_warps=4
                    ),
                )
            )
        )
    for number in (2500, 10_000_000):
        print(
            json.dumps(
                counted(
                    "sm_90",
                    lambda number=number: _launch.launch(add_up_kernel, (1,), x, out, number, BLOCK=1024, num_warps=4),
                )
            )
        )
    bounds = torch.tensor([13_006], dtype=torch.int32)
    for known in ((bounds,), ()):
        print(
            json.dumps(
                counted(
                    "sm_90",
                    lambda: _launch.launch(nested_kernel, (2,), x, bounds, out, 3000, 13, BLOCK=512, num_warps=4),
                    known,
                )
            )
        )


if __name__ == "__main__":
    main()
