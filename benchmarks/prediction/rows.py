# SPDX-License-Identifier: Apache-2.0
"""One benchmark case as plain data: a row for every launch that a call makes, their sums, and the targets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.prediction.classes import split
from benchmarks.prediction.counting import Counted, count
from benchmarks.prediction.devices import Device
from benchmarks.prediction.model import predict
from benchmarks.prediction.recording import NativeLaunch, Noted, TorchLaunch, record
from benchmarks.prediction.rounds import passes, rounds_of
from benchmarks.prediction.sass import innermost, loops
from benchmarks.prediction.targets import Call, targets_of
from benchmarks.registry import Case

Row = dict[str, Any]


def case_rows(op: str, case: Case, device: Device, order: Sequence[str]) -> Row:
    """Predict a case; ``launches`` holds a row for each launch, in order.

    Args:
        op: Name of the op or job.
        case: From ``recording.declared``.
        device: To predict for.
        order: Implementations to take before those that the dispatch table prefers.
    """
    rounds = rounds_of(op, case.name)
    launches = [_row(noted, device, rounds) for noted in record(case, device.arch, order)]
    call = Call(case, launches)
    kernel_sec = call.kernel_sec
    floor = call.floor_sec(device)
    return {
        "op": op,
        "case": case.name,
        "device": device.name,
        "arch": device.arch,
        "copy_bytes": device.copy_bytes,
        "predicted": True,
        "launches": launches,
        "kernel_sec": kernel_sec,
        "least_kernel_sec": call.least().kernel_sec,
        "total_sec": call.total_sec,
        "floor_sec": floor,
        "ratio": kernel_sec / floor if floor else None,
        "percent_of_copy": 100 * case.bytes_moved / device.copy_bytes / kernel_sec if kernel_sec else None,
        "targets": [target.line(call, device) for target in targets_of(op, case.name)] if device.name == "H100" else [],
    }


def _row(noted: Noted, device: Device, rounds: Mapping[str, int]) -> Row:
    if isinstance(noted, TorchLaunch):
        moved = noted.bytes * passes(noted.name)
        return {
            "kernel": noted.name,
            "by": "torch",
            "where": noted.where,
            "bytes": moved,
            "seconds": moved / device.copy_bytes,
            "least_sec": moved / device.copy_bytes,
            "bound": "bytes",
        }
    counted = count(noted, device, rounds)
    predicted = predict(device, counted.binary, counted.work)
    least = predicted
    if counted.assumed:
        least = predict(device, counted.binary, count(noted, device, rounds, skips=True).work)
    resources = counted.binary.resources
    return {
        "kernel": noted.name,
        "by": "cuda" if isinstance(noted, NativeLaunch) else "triton",
        "grid": list(noted.launch.grid),
        "threads": counted.work.threads,
        "registers": resources.registers,
        "spilled_bytes": resources.spilled_bytes,
        "shared_bytes": resources.shared_bytes + counted.work.dynamic_shared_bytes,
        "blocks_per_multiprocessor": predicted.blocks_per_multiprocessor,
        "limit": predicted.limit,
        "waves": predicted.waves,
        "bytes": counted.work.bytes,
        "instructions": predicted.instructions,
        "instructions_per_element": 32 * predicted.instructions / noted.elements,
        "by_class": predicted.by_class,
        "loops": _loops(counted),
        "times": predicted.times,
        "tail_sec": predicted.tail_sec,
        "seconds": predicted.seconds,
        "least_sec": min(least.seconds, predicted.seconds),
        "bound": predicted.bound,
        "assumed_branches": [f"{address:#x}" for address in counted.assumed],
        "problem": counted.problem,
    }


def _loops(counted: Counted) -> list[Row]:
    """Describe the innermost loops, or the whole body where there is none, by how much is executed in them."""
    code, counts = counted.binary.code, counted.work.counts
    warps = math.ceil(counted.work.threads / 32)
    found = []
    for loop in innermost(loops(code)):
        body = code[loop.first : loop.last + 1]
        found.append(
            {
                "from": body[0].address,
                "to": body[-1].address,
                "instructions": len(body),
                "rounds_per_warp": counts[loop.last] / warps,
                "executed": sum(counts[loop.first : loop.last + 1]) / warps,
                "by_class": dict(split(body).most_common()),
            }
        )
    return sorted(found, key=lambda loop: -loop["executed"])
