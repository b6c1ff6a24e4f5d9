# SPDX-License-Identifier: Apache-2.0
"""Everything that changes while a run trains, and its saving and restoring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from asl_fast.data.collate import Batch
from asl_fast.losses import ASLLoss, RaggedTargets
from asl_fast.models.detector import ActionDetector
from asl_fast.training.config import TrainConfig
from asl_fast.training.ema import WeightAverage
from asl_fast.training.optimizer import make_optimizer


def make_loss(config: TrainConfig) -> ASLLoss:
    """The training loss of a configuration whose model knows its data set."""
    width = config.model.neck_width or config.model.width
    return ASLLoss(config.model.num_classes, width, frame_dim=config.model.feature_dim, **asdict(config.loss))


class TrainingStep(nn.Module):
    """Detector and loss as one module, batch in and losses out, so that data parallelism and compilation see all of it.

    Args:
        detector: trained.
        loss: trained along.
        autocast: run the detector in bfloat16; the losses are computed in float32 always.
    """

    def __init__(self, detector: ActionDetector, loss: ASLLoss, *, autocast: bool) -> None:
        super().__init__()
        self.detector, self.loss = detector, loss
        self.autocast = autocast

    def forward(self, features: Tensor, mask: Tensor, targets: RaggedTargets) -> dict[str, Tensor]:
        """Losses of a batch: features (B, T, D), mask (B, T) bool, targets in grid units."""
        with torch.autocast(features.device.type, torch.bfloat16, enabled=self.autocast):
            output = self.detector(features, mask)
        losses: dict[str, Tensor] = self.loss(
            [level.float() for level in output.logits],
            [level.float() for level in output.offsets],
            [level.float() for level in output.features],
            output.masks,
            output.points,
            targets,
            (features.float(), mask),
        )
        return losses


def ragged_targets(batch: Batch) -> RaggedTargets:
    """The ground truth of a batch as the loss takes it."""
    return RaggedTargets(batch.segments, batch.labels, batch.segment_offsets)


class TrainingState:
    """Weights, their average, optimiser and position of a run.

    Args:
        config: with the model's inputs and outputs as the data set has them.
        device: where it trains.

    Attributes:
        epoch: epochs finished.
        step: optimiser steps done.
        best_map: best average mAP of an evaluation so far, and ``best_epoch`` where; None before the first.
    """

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        self.detector = ActionDetector(config.model).to(device)
        self.loss = make_loss(config).to(device)
        self.average = WeightAverage(self.detector, config.optimizer.ema_decay)
        self.optimizer = make_optimizer(self.detector, self.loss, config.optimizer)
        self.epoch = 0
        self.step = 0
        self.best_map: float | None = None
        self.best_epoch: int | None = None

    def state_dict(self) -> dict[str, Any]:
        """All of it as tensors and plain values."""
        return {
            "detector": self.detector.state_dict(),
            "loss": self.loss.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "best_map": self.best_map,
            "best_epoch": self.best_epoch,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.detector.load_state_dict(state["detector"])
        self.loss.load_state_dict(state["loss"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.step = int(state["epoch"]), int(state["step"])
        self.best_map, self.best_epoch = state["best_map"], state["best_epoch"]

    def num_bytes(self) -> int:
        """Size of a checkpoint, roughly: weights, their average and two moments each."""
        modules = (self.detector, self.loss, self.average.module)
        weights: int = sum(t.numel() * t.element_size() for m in modules for t in m.state_dict().values())
        trained = (p for group in self.optimizer.param_groups for p in group["params"])
        moments: int = sum(2 * p.numel() * p.element_size() for p in trained)
        return weights + moments + 1_000_000
