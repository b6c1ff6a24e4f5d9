# SPDX-License-Identifier: Apache-2.0
"""How many blocks a multiprocessor holds at once, by the rules of NVIDIA's occupancy calculator."""

from __future__ import annotations

import math
from typing import NamedTuple

from benchmarks.prediction.devices import Device

REGISTERS = 65_536
WARPS = 64
BLOCKS = 32
# Registers are given to a warp in units of 256, warps go round the four sub-partitions, and of the shared memory the
# system keeps 1 KiB of each block.
REGISTER_UNIT = 256
WARP_UNIT = 4
SHARED_UNIT = 128
SYSTEM_SHARED = 1024


class Occupancy(NamedTuple):
    """Attributes: ``blocks`` of a multiprocessor at once; ``limit``, what there is no more of."""

    blocks: int
    limit: str


def occupancy(device: Device, threads: int, registers: int, shared_bytes: int) -> Occupancy:
    """Count the blocks that fit.

    Args:
        device: The GPU.
        threads: Of a block.
        registers: Of a thread.
        shared_bytes: Static and dynamic, of a block, without what the system keeps.
    """
    warps = math.ceil(threads / 32)
    of_a_warp = math.ceil(max(registers, 1) * 32 / REGISTER_UNIT) * REGISTER_UNIT
    with_registers = REGISTERS // of_a_warp // WARP_UNIT * WARP_UNIT
    shared = math.ceil((shared_bytes + SYSTEM_SHARED) / SHARED_UNIT) * SHARED_UNIT
    fitting = {
        "blocks": BLOCKS,
        "warps": WARPS // warps,
        "registers": with_registers // warps,
        "shared memory": device.shared_bytes // shared,
    }
    limit = min(fitting, key=lambda name: fitting[name])
    return Occupancy(fitting[limit], limit)
