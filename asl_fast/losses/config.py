# SPDX-License-Identifier: Apache-2.0
"""The options of :class:`asl_fast.ASLLoss`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class LossConfig:
    """Arguments of :class:`asl_fast.ASLLoss`; see there. All three parts of ASL off is ActionFormer's loss.

    Attributes:
        class_level: learn a sensitivity Gaussian per class (p in the paper).
        instance_level: learn the sensitivity of single points from features (q in the paper).
        contrastive: add the contrastive loss over action-sensitive frames.
        branches: sub-tasks whose positives are weighted by sensitivity, "cls" and "loc".
        constant_weights: fixed (classification, localisation) weights of positives, instead of p and q; a control.
        normalization: how sensitivities are scaled; "none" is the paper's form.
        signal: what the Gaussians learn from: the weighted "loss" as in the paper, the "likelihood" of prediction
            quality, or the "evidence" in single input frames.
        center_sampling_radius: points within this many strides of an action's centre are positive; None takes all of
            the action.
        label_smoothing: share of the classification target spread over all classes.
        init_loss_norm: initial value of the running count of positives.
        loss_norm_momentum: momentum of the running count of positives.
        location_weight: weight of the localisation loss; -1 balances it against classification.
        contrastive_weight: weight of the contrastive loss (lambda in the paper).
        delta: half-width of the sensitive ranges, in action lengths.
        temperature: of the contrastive similarities.
        sigma_min: smallest Gaussian width, in action lengths.
        sigma_max: largest Gaussian width, in action lengths.
        mu_bound: largest distance of a Gaussian's centre from where it started, in action lengths.
        evaluator_dim: hidden channels of the networks behind q; None is a quarter of the detector's.
        evaluator_kernel_size: odd kernel of those networks.
    """

    class_level: bool = True
    instance_level: bool = True
    contrastive: bool = True
    branches: tuple[Literal["cls", "loc"], ...] = ("cls", "loc")
    constant_weights: tuple[float, float] | None = None
    normalization: Literal["batch", "instance", "none"] = "batch"
    signal: Literal["loss", "likelihood", "evidence"] = "loss"
    center_sampling_radius: float | None = 1.5
    label_smoothing: float = 0.0
    init_loss_norm: float = 100.0
    loss_norm_momentum: float = 0.9
    location_weight: float = 1.0
    contrastive_weight: float = 0.3
    delta: float = 0.2
    temperature: float = 0.07
    sigma_min: float = 0.1
    sigma_max: float = 5.0
    mu_bound: float = 0.5
    evaluator_dim: int | None = None
    evaluator_kernel_size: int = 3
