# SPDX-License-Identifier: Apache-2.0
"""Exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def average_share(updates: int, decay: float) -> float:
    """Return how far the average moves towards the weights after so many updates: 1 - its decay."""
    return 1.0 - (min(decay, (1 + updates) / (10 + updates)) if decay else 0.0)


class WeightAverage(Generic[M]):
    """Averaged copy of a module, updated with a decay that warms up.

    After n updates the decay is min(decay, (1 + n) / (10 + n)), so that after a short run the average holds the trained
    weights and not the initial ones: 630 updates at a constant 0.999 still hold 53 % of the start.

    Args:
        module: What is averaged.
        decay: Final decay; 0 makes the average follow the module exactly.

    Attributes:
        module: The averaged copy, in evaluation mode and without gradients.
        num_updates: How often it was updated.
    """

    def __init__(self, module: M, decay: float) -> None:
        self.module: M = deepcopy(module).eval().requires_grad_(False)
        self.decay = decay
        self.num_updates = 0
        pairs = list(zip(_tensors(self.module), _tensors(module), strict=True))
        self._averaged = [(a, m) for a, m in pairs if a.is_floating_point()]
        self._copied = [(a, m) for a, m in pairs if not a.is_floating_point()]

    @property
    def share(self) -> float:
        """How far the next update moves the average towards the weights, in [0, 1]."""
        return average_share(self.num_updates, self.decay)

    def update(self) -> None:
        """Move the average towards the module's present weights, and count."""
        self.move(self.share)
        self.num_updates += 1

    @torch.no_grad()
    def move(self, share: float | Tensor) -> None:
        """Move the average by a share of its distance to the module's present weights.

        Args:
            share: In [0, 1]; or a tensor () float32 on a GPU, which reads it there.
        """
        average, current = [a for a, _ in self._averaged], [m.detach() for _, m in self._averaged]
        if isinstance(share, Tensor):
            _move_by_descent(average, current, share)
        else:
            torch._foreach_lerp_(average, current, share)
        for a, m in self._copied:
            a.copy_(m)

    def state_dict(self) -> dict[str, Any]:
        """Give the weights and the number of updates."""
        return {"module": self.module.state_dict(), "num_updates": self.num_updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the weights and the number of updates from what `state_dict` gave."""
        self.module.load_state_dict(state["module"])
        self.num_updates = int(state["num_updates"])


def _move_by_descent(average: list[Tensor], current: list[Tensor], share: Tensor) -> None:
    """Move by gradient descent of |average - current|² / 2, whose gradient is average - current.

    With the share as its rate that is the same step, and the fused optimiser is the kernel that takes a rate from the
    device and passes once over the weights. The gradient is the weight decay of ``average``, by 1, less ``current``.
    """
    torch._fused_sgd_(
        average,
        current,
        [],
        weight_decay=1.0,
        momentum=0.0,
        lr=share,
        dampening=0.0,
        nesterov=False,
        maximize=True,
        is_first_step=False,
    )


def _tensors(module: nn.Module) -> list[Tensor]:
    """List parameters and the buffers that are saved; what a module keeps beside them is constant."""
    return list(module.state_dict(keep_vars=True).values())
