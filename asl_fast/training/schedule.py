# SPDX-License-Identifier: Apache-2.0
"""The numbers that change from step to step, which a CPU gets as Python numbers and a GPU from a table of its own.

They are a pure function of the step, so that resuming needs the step alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from asl_fast.training.ema import average_share
from asl_fast.training.state import TrainingState


@dataclass(frozen=True)
class WarmupCosine:
    """Linear warm-up from zero, then a cosine to ``min_lr``, per step: ActionFormer's LinearWarmupCosineAnnealingLR.

    The first step has rate 0 and steps ``warmup_steps - 1`` and ``warmup_steps`` both have the full rate, as there.

    Args:
        warmup_steps: Steps of the warm-up.
        total_steps: All steps, the warm-up included.
        min_lr: Where the cosine ends.
    """

    warmup_steps: int
    total_steps: int
    min_lr: float = 1e-8

    def rate(self, step: int, base_lr: float) -> float:
        """Compute the learning rate of step 0, 1, ... for a parameter group whose full rate is ``base_lr``."""
        if step < self.warmup_steps:
            return base_lr * step / max(self.warmup_steps - 1, 1)
        cosine_steps = max(self.total_steps - self.warmup_steps, 1)
        progress = min((step - self.warmup_steps) / cosine_steps, 1.0)
        return self.min_lr + 0.5 * (base_lr - self.min_lr) * (1.0 + math.cos(math.pi * progress))

    def apply(self, optimizer: Optimizer, step: int) -> float:
        """Set the rate of every group from its ``base_lr``; return that of the first group."""
        for group in optimizer.param_groups:
            group["lr"] = self.rate(step, group["base_lr"])
        return float(optimizer.param_groups[0]["lr"])


class Rates(Protocol):
    """Gives every step its learning rates and its share of the average."""

    def advance(self) -> float | Tensor:
        """Set the learning rate of every group for the next step.

        Returns:
            How far that step moves the average towards the weights, in [0, 1]; a tensor () where it lies on the device.
        """
        ...


class HostRates:
    """Takes the numbers of a step from the host.

    Args:
        schedule: Of the learning rates.
        state: What is trained; its own count says which step comes next.
    """

    def __init__(self, schedule: WarmupCosine, state: TrainingState) -> None:
        self.schedule, self.state = schedule, state

    def advance(self) -> float:
        """See `Rates`."""
        self.schedule.apply(self.state.optimizer, self.state.step)
        return self.state.average.share


class DeviceRates:
    """Takes the numbers of a step from a table on the device, by a counter that is there as well.

    So a step that was captured in a graph goes on with the schedule whenever it is replayed.

    Args:
        schedule: Of the learning rates.
        state: What is trained, at the step that comes next. The learning rates of its optimiser become tensors.
    """

    def __init__(self, schedule: WarmupCosine, state: TrainingState) -> None:
        groups, device = state.optimizer.param_groups, state.parameters[0].device
        decay, steps = state.average.decay, max(schedule.total_steps, state.step + 1)
        rows = [
            [*(schedule.rate(step, group["base_lr"]) for group in groups), average_share(step, decay)]
            for step in range(steps)
        ]
        self.table = torch.tensor(rows, dtype=torch.float32, device=device)
        self.next_step = torch.full((1,), state.step, dtype=torch.int64, device=device)
        self.row = torch.zeros(1, len(groups) + 1, device=device)
        for column, group in enumerate(groups):
            group["lr"] = self.row[0, column]
        self.share = self.row[0, -1]

    def advance(self) -> Tensor:
        """See `Rates`."""
        torch.index_select(self.table, 0, self.next_step, out=self.row)
        self.next_step += 1
        return self.share


def make_rates(schedule: WarmupCosine, state: TrainingState) -> Rates:
    """Choose where the numbers of a step come from: a table on a GPU, whether or not a graph is made there.

    So a run may switch graphs on and off in between and goes on with the same numbers.
    """
    return DeviceRates(schedule, state) if state.parameters[0].is_cuda else HostRates(schedule, state)
