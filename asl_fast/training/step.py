# SPDX-License-Identifier: Apache-2.0
"""One optimiser step: forward, losses, backward, clipping, AdamW, the average of the weights, the schedule.

What `TrainStep.compute` does can be captured in a CUDA graph (:mod:`asl_fast.training.graph`): it takes nothing from
the device to the host, and no number that changes from step to step from the host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from asl_fast.losses import RaggedTargets
from asl_fast.training.schedule import Rates
from asl_fast.training.stages import stage
from asl_fast.training.state import TrainingState


class StepNumbers(NamedTuple):
    """What a step measured; it stays on the device, so that no step waits for the one before.

    Attributes:
        names: The losses, and ``grad_norm``, the norm of the whole gradient before it was clipped.
        values: (len(names),) float32.
    """

    names: tuple[str, ...]
    values: Tensor

    def value(self, name: str) -> Tensor:
        """Return one number by its name, ()."""
        return self.values[self.names.index(name)]


Step = Callable[[Tensor, Tensor, RaggedTargets], StepNumbers]
"""Takes features (B, T, D), mask (B, T) bool, False where a video is padded, and ground truth in grid units."""


class TrainStep:
    """Takes optimiser steps, one operator after the other.

    Args:
        state: What is trained.
        module: The `TrainingStep` of its detector and loss, as the processes wrap it.
        rates: Learning rates, and how far the average moves, from step to step.
        clip_norm: Largest norm of the gradient of each of ``state.clipped``; 0 does not clip.
    """

    def __init__(self, state: TrainingState, module: nn.Module, rates: Rates, clip_norm: float) -> None:
        self.state, self.module, self.rates, self.clip_norm = state, module, rates, clip_norm

    def __call__(self, features: Tensor, mask: Tensor, targets: RaggedTargets) -> StepNumbers:
        """Take one step; see `Step`."""
        numbers = self.compute(features, mask, targets)
        self.count()
        return numbers

    def compute(self, features: Tensor, mask: Tensor, targets: RaggedTargets) -> StepNumbers:
        """Do everything of a step that the device does."""
        state = self.state
        with stage("schedule"):
            share = self.rates.advance()
        losses = self.module(features, mask, targets)
        with stage("backward"):
            losses["total"].backward()
        with stage("clip"):
            norm = self._clip()
        with stage("optimizer"):
            state.optimizer.step()
            state.optimizer.zero_grad(set_to_none=True)
        with stage("average"):
            state.average.move(share)
        found = losses | {"grad_norm": norm}
        return StepNumbers(tuple(found), torch.stack([value.detach().float() for value in found.values()]))

    def _clip(self) -> Tensor:
        """Clip the gradients; return the norm that all of them together had, ()."""
        # All gradients at once on a GPU; elsewhere as PyTorch chooses.
        at_once = self.state.parameters[0].is_cuda or None
        most = self.clip_norm or float("inf")
        norms = [nn.utils.clip_grad_norm_(each, most, foreach=at_once) for each in self.state.clipped]
        return norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))

    def count(self) -> None:
        """Do what is left to the host: count the step."""
        self.state.step += 1
        self.state.average.num_updates += 1
