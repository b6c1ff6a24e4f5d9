# SPDX-License-Identifier: Apache-2.0
"""Exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


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

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the module's present weights."""
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates)) if self.decay else 0.0
        self.num_updates += 1
        average, current = [a for a, _ in self._averaged], [m.detach() for _, m in self._averaged]
        torch._foreach_lerp_(average, current, 1.0 - decay)
        for a, m in self._copied:
            a.copy_(m)

    def state_dict(self) -> dict[str, Any]:
        """Give the weights and the number of updates."""
        return {"module": self.module.state_dict(), "num_updates": self.num_updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the weights and the number of updates from what `state_dict` gave."""
        self.module.load_state_dict(state["module"])
        self.num_updates = int(state["num_updates"])


def _tensors(module: nn.Module) -> list[Tensor]:
    """List parameters and the buffers that are saved; what a module keeps beside them is constant."""
    return list(module.state_dict(keep_vars=True).values())
