# SPDX-License-Identifier: Apache-2.0
"""The GPUs that are predicted for: what one multiprocessor holds, and the rates that predictions assume."""

from __future__ import annotations

from typing import NamedTuple


class Device(NamedTuple):
    """Limits from NVIDIA's occupancy tables; rates are assumptions, stated in every output.

    Attributes:
        name: Of the GPU whose rates these are.
        arch: As the compilers name it.
        capability: Major times ten plus minor.
        multiprocessors: Of the whole chip (SXM).
        clock: Cycles per second under load.
        copy_bytes: Bytes per second, read and written together, that a large copy reaches.
        l2_bytes: Of the second-level cache.
        shared_bytes: Shared memory of a multiprocessor, with the KiB that the system takes of each block.
        dense_flops: Tensor-core FLOP per second that a good kernel reaches, by the operands' type.
        first_parameter: Where a kernel's parameters begin in constant bank 0.
    """

    name: str
    arch: str
    capability: int
    multiprocessors: int
    clock: float
    copy_bytes: float
    l2_bytes: int
    shared_bytes: int
    dense_flops: dict[str, float]
    first_parameter: int

    @property
    def issues_per_sec(self) -> float:
        """Warp instructions per second: each of the four sub-partitions issues one a cycle."""
        return self.multiprocessors * 4 * self.clock


DEVICES = {
    "sm_90": Device(
        name="H100",
        arch="sm_90",
        capability=90,
        multiprocessors=132,
        clock=1.755e9,
        copy_bytes=3e12,
        l2_bytes=50 << 20,
        shared_bytes=228 << 10,
        dense_flops={"tf32": 0.65 * 495e12, "half": 0.65 * 989e12, "fp64": 0.65 * 67e12},
        first_parameter=0x210,
    ),
    "sm_80": Device(
        name="A100",
        arch="sm_80",
        capability=80,
        multiprocessors=108,
        clock=1.41e9,
        copy_bytes=1.7e12,
        l2_bytes=40 << 20,
        shared_bytes=164 << 10,
        dense_flops={"tf32": 0.65 * 156e12, "half": 0.65 * 312e12, "fp64": 0.65 * 19.5e12},
        first_parameter=0x160,
    ),
}

LAUNCH_SEC = 3e-6
"""What one more launch costs."""
