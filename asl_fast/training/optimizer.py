# SPDX-License-Identifier: Apache-2.0
"""AdamW with ActionFormer's parameter groups and its learning rates.

Only weights of linear layers and convolutions decay. The learning rate is a pure function of the step, so that resuming
needs the step alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn
from torch.optim import AdamW, Optimizer

from asl_fast.losses.evidence import FrameEvidence
from asl_fast.losses.sensitivity import ClassGaussians
from asl_fast.models.primitives import TemporalConv
from asl_fast.training.config import OptimizerConfig

_WITH_DECAY = (nn.Linear, nn.Conv1d, TemporalConv)
_WITHOUT_DECAY = (nn.LayerNorm, nn.GroupNorm, nn.Embedding, ClassGaussians)
_NAMES_WITHOUT_DECAY = ("bias", "relative_bias", "scale")


def split_parameters(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Part the trainable parameters into those with and those without weight decay, each in the order of their names.

    Raises:
        ValueError: Naming the parameters that no rule covers; a new kind of module must be added to one of the lists.
    """
    decay: dict[str, nn.Parameter] = {}
    no_decay: dict[str, nn.Parameter] = {}
    unknown: list[str] = []
    for prefix, owner in module.named_modules():
        for name, parameter in owner.named_parameters(recurse=False):
            path = f"{prefix}.{name}".lstrip(".")
            if not parameter.requires_grad:
                continue
            if name in _NAMES_WITHOUT_DECAY or isinstance(owner, _WITHOUT_DECAY):
                no_decay[path] = parameter
            elif name == "weight" and isinstance(owner, _WITH_DECAY):
                decay[path] = parameter
            else:
                unknown.append(f"{path} of {type(owner).__name__}")
    if unknown:
        raise ValueError(f"no weight-decay rule covers {', '.join(unknown)}; add one in {__name__}")
    return [decay[name] for name in sorted(decay)], [no_decay[name] for name in sorted(no_decay)]


def make_optimizer(detector: nn.Module, loss: nn.Module, config: OptimizerConfig) -> AdamW:
    """Make AdamW over the detector and the loss's own parameters; every group knows its full rate as ``base_lr``.

    Args:
        detector: Trained at ``config.lr``.
        loss: Trained at ``config.lr * config.loss_lr_multiplier``, its Gaussians and frame classifier at
            ``config.gaussian_lr`` if that is given.
        config: Rates, momenta and weight decay.

    Raises:
        ValueError: As `split_parameters`.
    """
    groups = []
    loss_lr = config.lr * config.loss_lr_multiplier
    class_level = (m for m in loss.modules() if isinstance(m, (ClassGaussians, FrameEvidence)))
    own_rate = {id(p) for m in class_level for p in m.parameters()}
    for module, lr in ((detector, config.lr), (loss, loss_lr)):
        for parameters, weight_decay in zip(split_parameters(module), (config.weight_decay, 0.0), strict=True):
            alone = [p for p in parameters if config.gaussian_lr is not None and id(p) in own_rate]
            rest = [p for p in parameters if not any(p is other for other in alone)]
            for members, rate in ((rest, lr), (alone, config.gaussian_lr or lr)):
                if members:
                    groups.append({"params": members, "weight_decay": weight_decay, "lr": rate, "base_lr": rate})
    return AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)


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
