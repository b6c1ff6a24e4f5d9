# SPDX-License-Identifier: Apache-2.0
"""Learning rate as a pure function of the step, so that resuming needs the step alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch.optim import Optimizer


@dataclass(frozen=True)
class WarmupCosine:
    """Linear warm-up from zero, then a cosine to ``min_lr``, per step: ActionFormer's LinearWarmupCosineAnnealingLR.

    The first step has rate 0 and steps ``warmup_steps - 1`` and ``warmup_steps`` both have the full rate, as there.

    Args:
        warmup_steps: steps of the warm-up.
        total_steps: all steps, the warm-up included.
        min_lr: where the cosine ends.
    """

    warmup_steps: int
    total_steps: int
    min_lr: float = 1e-8

    def rate(self, step: int, base_lr: float) -> float:
        """Learning rate of step 0, 1, ... for a parameter group whose full rate is ``base_lr``."""
        if step < self.warmup_steps:
            return base_lr * step / max(self.warmup_steps - 1, 1)
        cosine_steps = max(self.total_steps - self.warmup_steps, 1)
        progress = min((step - self.warmup_steps) / cosine_steps, 1.0)
        return self.min_lr + 0.5 * (base_lr - self.min_lr) * (1.0 + math.cos(math.pi * progress))

    def apply(self, optimizer: Optimizer, step: int) -> float:
        """Sets the rate of every group from its ``base_lr``; returns that of the first group."""
        for group in optimizer.param_groups:
            group["lr"] = self.rate(step, group["base_lr"])
        return float(optimizer.param_groups[0]["lr"])
