# SPDX-License-Identifier: Apache-2.0
"""What calls are meant to reach on an H100, and whether a prediction does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from benchmarks.prediction.devices import LAUNCH_SEC, Device
from benchmarks.registry import Case

# Module whose launches a target of the loss leaves out: a network of its own.
EVALUATOR = "InstanceEvaluator"


@dataclass(frozen=True)
class Call:
    """What is predicted of one call of a case.

    Attributes:
        case: The case.
        launches: A row for each kernel started, PyTorch's own included.
    """

    case: Case
    launches: Sequence[Mapping[str, Any]]

    @property
    def kernel_sec(self) -> float:
        """Return the sum of the kernels' times."""
        return float(sum(row["seconds"] for row in self.launches))

    @property
    def total_sec(self) -> float:
        """Return that, and what launching costs."""
        return self.kernel_sec + LAUNCH_SEC * len(self.launches)

    def floor_sec(self, device: Device) -> float:
        """Return the time of the bytes that the case has to move, or of its arithmetic, which takes longer."""
        return max(self.case.bytes_moved / device.copy_bytes, self.case.flops * PRODUCTS / device.dense_flops["tf32"])

    def least(self) -> Call:
        """Return the call with what its data make it do at least."""
        return Call(self.case, [{**row, "seconds": row.get("least_sec", row["seconds"])} for row in self.launches])

    def loss(self) -> Call:
        """Return the loss's own part: without the evaluator and what the benchmark adds around it."""
        own = [
            row
            for row in self.launches
            if row["by"] != "torch" or (row["where"] not in ("", "leaf") and EVALUATOR not in row["where"])
        ]
        return Call(self.case, own)


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
        uncounted = [row["kernel"] for row in call.launches if row.get("problem")]
        if uncounted:
            return (
                f"target {self.what} {self._sign()} {self.limit:g}: not predicted, {', '.join(uncounted)} not counted"
            )
        most, least = self.value(call, device), self.value(call.least(), device)
        met, could = (x >= self.limit if self.at_least else x <= self.limit for x in (most, least))
        verdict = "met" if met else "OPEN, data decides" if could else "MISSED"
        found = f"{most:.3g}" if f"{most:.3g}" == f"{least:.3g}" else f"{least:.3g} to {most:.3g}"
        return f"target {self.what} {self._sign()} {self.limit:g}: predicted {found}, {verdict}"

    def _sign(self) -> str:
        return "at least" if self.at_least else "at most"


def _percent_of_copy(call: Call, device: Device) -> float:
    return 100 * call.case.bytes_moved / call.kernel_sec / device.copy_bytes


def _over_floor(call: Call, device: Device) -> float:
    return call.kernel_sec / call.floor_sec(device)


def _total_us(call: Call, device: Device) -> float:
    return 1e6 * call.total_sec


def _kernel_us(call: Call, device: Device) -> float:
    return 1e6 * call.kernel_sec


def _loss_launches(call: Call, device: Device) -> float:
    return len(call.loss().launches)


def _loss_us(call: Call, device: Device) -> float:
    return 1e6 * call.loss().kernel_sec


def _waves(call: Call, device: Device) -> float:
    return float(max((row["waves"] for row in call.launches if row["by"] != "torch"), default=0.0))


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
    *(Target("training_losses", name, "launches without the evaluator", 6, False, _loss_launches) for name in LOSSES),
    *(Target("training_losses", name, "us of kernels without the evaluator", 80, False, _loss_us) for name in LOSSES),
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
