# SPDX-License-Identifier: Apache-2.0
"""AdamW with ActionFormer's parameter groups: only weights of linear layers and convolutions decay."""

from __future__ import annotations

from torch import nn
from torch.optim import AdamW

from asl_fast.losses.evidence import FrameEvidence
from asl_fast.losses.sensitivity import ClassGaussians
from asl_fast.models.primitives import TemporalConv
from asl_fast.training.config import OptimizerConfig

_WITH_DECAY = (nn.Linear, nn.Conv1d, TemporalConv)
_WITHOUT_DECAY = (nn.LayerNorm, nn.GroupNorm, nn.Embedding, ClassGaussians)
_NAMES_WITHOUT_DECAY = ("bias", "relative_bias", "scale")


def split_parameters(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Trainable parameters with and without weight decay, each in the order of their names.

    Raises:
        ValueError: naming the parameters that no rule covers; a new kind of module must be added to one of the lists.
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
    """AdamW over the detector and the loss's own parameters; every group knows its full rate as ``base_lr``.

    Args:
        detector: trained at ``config.lr``.
        loss: trained at ``config.lr * config.loss_lr_multiplier``, its Gaussians and frame
            classifier at ``config.gaussian_lr`` if that is given.
        config: rates, momenta and weight decay.
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
