# SPDX-License-Identifier: Apache-2.0
"""One whole training step: detector, assignment, losses, backward, clipping, optimiser and weight average.

On a GPU it is one CUDA graph, as in training, beside the same step operator by operator. How many launches a graph
saves, ``python benchmarks/step_launches.py`` predicts without a GPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from asl_fast import RaggedTargets, backend
from asl_fast.training.distributed import uses_bf16
from asl_fast.training.freed_memory import keep_freed_memory
from asl_fast.training.graph import CudaRecorder, GraphedStep
from asl_fast.training.schedule import WarmupCosine, make_rates
from asl_fast.training.state import TrainingState, TrainingStep
from asl_fast.training.step import Step, TrainStep
from benchmarks.actionformer import model as actionformer_model
from benchmarks.registry import Case, Scale, close
from benchmarks.shapes import Shape, shapes, signal_shapes, small_shape

RATE = 1e-6
"""As in the first steps of a warm-up: weights stay where they are but for rounding."""
MOST_STEPS = 100_000


def cases(device: str) -> list[Case]:
    """Declare every benchmark at its own size, against the reference of every op in the same detector."""
    if device == "cpu":
        keep_freed_memory()  # as every process that trains or detects there
    found: list[tuple[Shape, Scale]] = [
        (small_shape(), "small"),
        *((each, "real") for each in signal_shapes()),
        *((each, "large") for each in shapes()),
    ]
    return [_case(device, each, scale) for each, scale in found]


def _case(device: str, each: Shape, scale: Scale) -> Case:
    def make_inputs() -> tuple[Any, ...]:
        length, dim = each.config.data.max_length, each.config.model.feature_dim
        features = torch.randn(each.batch, length, dim, generator=torch.Generator().manual_seed(0))
        mask = torch.ones(each.batch, length, dtype=torch.bool)
        return Trainer(each, device), features.to(device), mask.to(device), each.targets(device)

    theirs = actionformer_model(each.config)
    return Case(
        f"{each.name}: {each.batch} x {each.config.data.max_length} x {each.config.model.feature_dim}",
        make_inputs,
        fused,
        {"reference": reference}
        | ({"operator by operator": eager} if device == "cuda" else {})
        | ({"actionformer": ActionFormerStep(theirs, each)} if theirs is not None else {}),
        items=each.batch,
        scale=scale,
        compiled=None,
        counts_flops=True,
        # Both walk on from the other's weights, one step apart; ActionFormer has weights of its own.
        agree=None if theirs is not None else close(5e-2, 1e-3),
    )


class Trainer:
    """Training steps of a shape, as the training loop takes them."""

    def __init__(self, each: Shape, device: str) -> None:
        torch.manual_seed(0)
        self.state = TrainingState(each.config, torch.device(device))
        if self.state.loss.evidence is not None:
            # At zero it finds no profile, and after the first step one: the first two losses would not compare.
            nn.init.normal_(self.state.loss.evidence.classifier.weight, std=0.01)
        autocast = uses_bf16(each.config.precision, torch.device(device))
        module = TrainingStep(self.state.detector, self.state.loss, autocast=autocast).train()
        for group in self.state.optimizer.param_groups:
            group["base_lr"] = RATE
        rates = make_rates(WarmupCosine(0, MOST_STEPS, min_lr=RATE), self.state)
        self.eager = TrainStep(self.state, module, rates, each.config.optimizer.clip_norm)
        # Where launches are only noted, for a GPU that is not there, the step runs on the CPU.
        graphed = device == "cuda" and torch.cuda.is_available()
        self.step: Step = GraphedStep(self.eager, CudaRecorder()) if graphed else self.eager

    def __call__(self, features: Tensor, mask: Tensor, targets: RaggedTargets) -> Tensor:
        """Take one step; return the total loss."""
        return self.step(features, mask, targets).value("total")


class ActionFormerStep:
    """A step of ActionFormer's own model: its forward pass and losses, backward, clipping, AdamW, weight average."""

    def __init__(self, model: nn.Module, each: Shape) -> None:
        self.model, self.clip_norm = model.train(), each.config.optimizer.clip_norm
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
        self.average = [value.clone() for value in model.state_dict().values()]

    def __call__(self, _: Trainer, features: Tensor, mask: Tensor, targets: RaggedTargets) -> Tensor:
        """Take one step; return the total loss."""
        self.model.to(features.device)
        bounds = targets.video_offsets.tolist()
        videos = [
            {"feats": row.t(), "segments": targets.segments[start:end], "labels": targets.labels[start:end]}
            for row, start, end in zip(features, bounds[:-1], bounds[1:], strict=True)
        ]
        self.optimizer.zero_grad(set_to_none=True)
        total: Tensor = self.model(videos)["final_loss"]
        total.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm or float("inf"))
        self.optimizer.step()
        with torch.no_grad():
            for average, value in zip(self.average, self.model.state_dict().values(), strict=True):
                average.copy_(0.999 * average + 0.001 * value)
        return total.detach()


def fused(trainer: Trainer, features: Tensor, mask: Tensor, targets: RaggedTargets) -> Tensor:
    """Step with whichever implementations are in force."""
    return trainer(features, mask, targets)


def eager(trainer: Trainer, features: Tensor, mask: Tensor, targets: RaggedTargets) -> Tensor:
    """Step without a graph."""
    return trainer.eager(features, mask, targets).value("total")


def reference(trainer: Trainer, features: Tensor, mask: Tensor, targets: RaggedTargets) -> Tensor:
    """Step with plain PyTorch for every op."""
    with backend("reference"):
        return trainer.eager(features, mask, targets).value("total")
