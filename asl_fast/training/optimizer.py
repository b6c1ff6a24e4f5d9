# SPDX-License-Identifier: Apache-2.0
"""AdamW with ActionFormer's parameter groups: only weights of linear layers and convolutions decay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
    # On a GPU it is made such that a CUDA graph can hold its steps.
    on_gpu = any(parameter.is_cuda for parameter in detector.parameters())
    optimizer = AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=True, capturable=on_gpu)
    # It would warn that its first step is not captured; that one is taken as it is, to make the moments.
    optimizer._warned_capturable_if_run_uncaptured = on_gpu
    return optimizer


_OF_THE_DEVICE = ("lr", "capturable")
"""Options of a group that depend on where it trains; every step sets the learning rate anew."""


def optimizer_state(optimizer: Optimizer) -> dict[str, Any]:
    """Give the state of an optimiser as it is saved: the same whether it ran on a CPU or on a GPU."""
    state = optimizer.state_dict()
    groups = [group | {"lr": float(group["lr"]), "capturable": False} for group in state["param_groups"]]
    return state | {"param_groups": groups}


def load_optimizer_state(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Take what `optimizer_state` gave, wherever it was saved."""
    own = [{name: group[name] for name in _OF_THE_DEVICE} for group in optimizer.param_groups]
    optimizer.load_state_dict(dict(state))
    for group, options in zip(optimizer.param_groups, own, strict=True):
        group.update(options)
