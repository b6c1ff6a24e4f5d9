# SPDX-License-Identifier: Apache-2.0
"""What calls are meant to reach on an H100, and whether a prediction does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmarks.prediction.devices import Device
from benchmarks.registry import Case


class Call(NamedTuple):
    """What is predicted of one call of a case.

    Attributes:
        case: The case.
        launches: Kernels started, PyTorch's own included.
        kernel_sec: Sum of the kernels' times.
        total_sec: That, and 3 us for each launch.
        waves: Of each launch of ours.
    """

    case: Case
    launches: int
    kernel_sec: float
    total_sec: float
    waves: Sequence[float]

    def floor_sec(self, device: Device) -> float:
        """Return the time of the bytes that the case has to move, or of its arithmetic, which takes longer."""
        return max(self.case.bytes_moved / device.copy_bytes, self.case.flops * PRODUCTS / device.dense_flops["tf32"])


# Products of TF32 numbers that keep the accuracy of one float32 product.
PRODUCTS = 3


class Target(NamedTuple):
    """Attributes: which ``op`` and ``case`` (a part of its name), the ``limit``, and how to measure a call by it."""

    op: str
    case: str
    what: str
    limit: float
    at_least: bool
    value: Callable[[Call, Device], float]

    def line(self, call: Call, device: Device) -> str:
        """Say in one line what was aimed at and what is predicted."""
        value = self.value(call, device)
        met = value >= self.limit if self.at_least else value <= self.limit
        sign = "at least" if self.at_least else "at most"
        return f"target {self.what} {sign} {self.limit:g}: predicted {value:.3g}, {'met' if met else 'MISSED'}"


def _percent_of_copy(call: Call, device: Device) -> float:
    return 100 * call.case.bytes_moved / call.kernel_sec / device.copy_bytes


def _over_floor(call: Call, device: Device) -> float:
    return call.kernel_sec / call.floor_sec(device)


def _total_us(call: Call, device: Device) -> float:
    return 1e6 * call.total_sec


def _kernel_us(call: Call, device: Device) -> float:
    return 1e6 * call.kernel_sec


def _launches(call: Call, device: Device) -> float:
    return call.launches


def _waves(call: Call, device: Device) -> float:
    return max(call.waves, default=0.0)


COPY = "percent of copy bandwidth"
LOSSES = ("asl, thumos14", "asl, multithumos", "asl, epic100-noun")
# PyTorch's FlexAttention of the same call, by the same count of instructions of its generated kernels.
FLEX_US = 38.0

TARGETS = [
    Target("sensitivity_focal_loss", "1,000,000 x 20", COPY, 85, True, _percent_of_copy),
    Target("diou_loss", "1,000,000 rows", COPY, 85, True, _percent_of_copy),
    Target("segment_iou", "iou 16,000 and 8,000", "times the floor", 1.3, False, _over_floor),
    Target("contrastive_similarity", "242 instances, 512", "us with launches", 60, False, _total_us),
    Target("contrastive_similarity", "16,384 instances", "us with launches", 150_000, False, _total_us),
    *(Target("training_losses", name, "launches", 6, False, _launches) for name in LOSSES),
    *(Target("training_losses", name, "us of kernels", 80, False, _kernel_us) for name in LOSSES),
    Target("local_attention", "2 x 4 x 2304 x 128, window 19", "us of kernels", 0.9 * FLEX_US, False, _kernel_us),
    Target("local_attention", "2 x 4 x 2304 x 128, window 19", "waves", 1, False, _waves),
    Target("soft_nms", "213 videos x 12,000", "us with launches", 2_000, False, _total_us),
]


def targets_of(op: str, case: str) -> list[Target]:
    """Return the targets of a case; those of the forward pass alone do not count for one with the backward pass."""
    return [
        target
        for target in TARGETS
        if target.op == op and target.case in case and case.endswith("backward") == target.case.endswith("backward")
    ]
