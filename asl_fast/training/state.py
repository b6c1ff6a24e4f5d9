# SPDX-License-Identifier: Apache-2.0
"""Everything that changes while a run trains, and its saving and restoring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from asl_fast.data.collate import Batch
from asl_fast.losses import ASLLoss, RaggedTargets
from asl_fast.models.detector import ActionDetector, DetectorOutput
from asl_fast.training.config import TrainConfig
from asl_fast.training.ema import WeightAverage
from asl_fast.training.optimizer import load_optimizer_state, make_optimizer, optimizer_state
from asl_fast.training.stages import stage


def make_loss(config: TrainConfig) -> ASLLoss:
    """Make the training loss of a configuration whose model knows its data set."""
    width = config.model.neck_width or config.model.width
    return ASLLoss(config.model.num_classes, width, config.loss, frame_dim=config.model.feature_dim)


class TrainingStep(nn.Module):
    """Detector and loss as one module, batch in and losses out, so that data parallelism sees all that is trained.

    Args:
        detector: Finds the actions.
        loss: Says how far off they are; it has parameters of its own, which are trained along.
        autocast: Run the detector in bfloat16; the losses are always computed in float32.
    """

    def __init__(self, detector: ActionDetector, loss: ASLLoss, *, autocast: bool) -> None:
        super().__init__()
        self.detector, self.loss = detector, loss
        self.autocast = autocast

    def forward(self, features: Tensor, mask: Tensor, targets: RaggedTargets) -> dict[str, Tensor]:
        """Compute the losses of a batch: features (B, T, D), mask (B, T) bool, targets in grid units."""
        with stage("forward"), torch.autocast(features.device.type, torch.bfloat16, enabled=self.autocast):
            output = self.detector(features, mask)
        with stage("loss"):
            losses: dict[str, Tensor] = self.loss(
                **self.predictions(output, joined=features.is_cuda), targets=targets, frames=(features.float(), mask)
            )
        return losses

    def predictions(self, output: DetectorOutput, *, joined: bool) -> dict[str, Any]:
        """Give a detector's output by the names under which the loss takes it.

        Args:
            output: Of the detector.
            joined: All levels in one tensor and of the type they have, which saves every copy and cast; what a GPU
                computes of them is launches. On a CPU these are cheap, and levels without places between them keep the
                order in which losses of points are summed, whatever the width of the detector's convolutions.
        """
        if joined:
            return {
                "logits": output.joined_logits,
                "offsets": output.joined_offsets,
                "features": output.features,
                "masks": output.masks,
                "points": self.detector.points.joined(output.lengths, output.gap),
                "joined_mask": output.joined_mask,
            }
        return {
            "logits": [level.float() for level in output.logits],
            "offsets": [level.float() for level in output.offsets],
            "features": [level.float() for level in output.features],
            "masks": output.masks,
            "points": output.points,
        }


def ragged_targets(batch: Batch) -> RaggedTargets:
    """Give the ground truth of a batch as the loss takes it."""
    return RaggedTargets(batch.segments, batch.labels, batch.video_offsets)


class TrainingState:
    """Weights, their average, optimiser and position of a run.

    Args:
        config: The run, with the model's inputs and outputs as the data set has them.
        device: Where it trains.

    Attributes:
        detector: The model.
        loss: The training objective, with its own parameters.
        average: The averaged weights of the detector, which are scored and used for detection.
        optimizer: Updates ``parameters``.
        parameters: All that is trained, of detector and loss.
        clipped: The same in the groups whose gradients are clipped, each by its own norm: the detector first.
        epoch: Epochs finished.
        step: Optimiser steps done.
        best_map: Best average mAP of an evaluation so far, in [0, 1]; None before the first.
        best_epoch: Epochs finished when it was reached.
    """

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        self.detector = ActionDetector(config.model).to(device)
        self.loss = make_loss(config).to(device)
        self.average = WeightAverage(self.detector, config.optimizer.ema_decay)
        self.optimizer = make_optimizer(self.detector, self.loss, config.optimizer)
        self.parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        self.clipped = [self.parameters]
        if config.optimizer.clip_apart:
            of_loss = {id(parameter) for parameter in self.loss.parameters()}
            both = ([p for p in self.parameters if (id(p) in of_loss) == apart] for apart in (False, True))
            self.clipped = [members for members in both if members]
        self.epoch = 0
        self.step = 0
        self.best_map: float | None = None
        self.best_epoch: int | None = None

    @property
    def modules(self) -> dict[str, nn.Module]:
        """What holds weights, by the name under which a checkpoint files it."""
        return {"detector": self.detector, "loss": self.loss, "average": self.average.module}

    def state_dict(self) -> dict[str, Any]:
        """Give all of it as tensors and plain values."""
        return {
            "detector": self.detector.state_dict(),
            "loss": self.loss.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": optimizer_state(self.optimizer),
            "epoch": self.epoch,
            "step": self.step,
            "best_map": self.best_map,
            "best_epoch": self.best_epoch,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take all of it from what `state_dict` gave."""
        self.detector.load_state_dict(state["detector"])
        self.loss.load_state_dict(state["loss"])
        self.average.load_state_dict(state["average"])
        load_optimizer_state(self.optimizer, state["optimizer"])
        self.epoch, self.step = int(state["epoch"]), int(state["step"])
        self.best_map, self.best_epoch = state["best_map"], state["best_epoch"]

    def num_bytes(self) -> int:
        """Estimate the size of a checkpoint: weights, their average and two moments each."""
        modules = (self.detector, self.loss, self.average.module)
        weights: int = sum(t.numel() * t.element_size() for m in modules for t in m.state_dict().values())
        moments: int = sum(2 * p.numel() * p.element_size() for p in self.parameters)
        return weights + moments + 1_000_000
