# SPDX-License-Identifier: Apache-2.0
"""How an :class:`asl_fast.ASLLoss` becomes part of somebody else's module, and of its checkpoints."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from torch import Tensor, nn

from asl_fast.losses.asl_loss import ASLLoss
from asl_fast.losses.config import LossConfig
from asl_fast.reference._detection_loss_totals import location_balance

NAME = "asl_loss"
"""The attribute under which a module keeps its loss, and so part of the names of the loss's parameters."""

Value = TypeVar("Value")


class HoldsLoss(nn.Module):
    """What a module with a loss of ours does when weights are loaded.

    The weights of the loss stand in its checkpoints, so that a run that is resumed goes on exactly. A checkpoint from
    before the loss was attached has none of them: strict loading takes it, and the loss keeps the values it has.
    """

    asl_loss: ASLLoss

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        own = f"{prefix}{NAME}."
        if not any(name.startswith(own) for name in state_dict):
            for name, value in self._weights_of_old_checkpoints(state_dict, prefix).items():
                state_dict[own + name] = value
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _weights_of_old_checkpoints(self, state_dict: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
        return self.asl_loss.state_dict()


def attach(host: nn.Module, loss: ASLLoss, behaviour: type[HoldsLoss]) -> None:
    """Give a module a loss, and the methods that use it.

    Args:
        host: The module; its class becomes one that derives from ``behaviour`` and from what it was, so that copies and
            replicas of it behave alike.
        loss: Put where the module's parameters are.
        behaviour: The methods.
    """
    for parameter in host.parameters():
        loss.to(parameter.device)
        break
    host.add_module(NAME, loss)
    host.train(host.training)
    former = type(host)
    host.__class__ = type(f"ASL{former.__name__}", (behaviour, former), {"__module__": former.__module__})


def check_host(host: nn.Module, parts: Sequence[str], methods: Mapping[str, Sequence[str]], kind: str) -> None:
    """Check that a module is what an adapter was made for.

    Args:
        host: The module.
        parts: Attributes that it has.
        methods: The names of the arguments that its methods take.
        kind: What the adapter was made for, for the message.

    Raises:
        TypeError: Naming what is missing.
        ValueError: When it has a loss of ours already.
    """
    name = type(host).__name__
    if isinstance(host, HoldsLoss):
        raise ValueError(f"{name} has its ASLLoss already; call use_asl once, on a model as it was made")
    if isinstance(host, nn.parallel.DistributedDataParallel):
        raise TypeError(
            f"{name} would not know the parameters of the loss: call use_asl on the model before it is wrapped"
        )
    for part in (*parts, *methods):
        # Methods are those of its class: a wrapper hands on what it has not itself.
        if not hasattr(type(host) if part in methods else host, part):
            raise TypeError(
                f"{name} is no {kind}: it has no {part!r}; give the model before it is wrapped or compiled, or call "
                "asl_fast.ASLLoss from its training code"
            )
    for method, expected in methods.items():
        found = arguments_of(getattr(type(host), method))
        if found[: len(expected)] != list(expected) or len(found) > len(expected):
            raise TypeError(
                f"{name}.{method} takes {', '.join(found)}, not {', '.join(expected)}: it has a loss of its own, which "
                "use_asl does not know; call asl_fast.ASLLoss from its own training code"
            )


def arguments_of(method: Callable[..., Any]) -> list[str]:
    """Return the names of the arguments of a method, without the instance and without ``**kwargs``."""
    parameters = inspect.signature(method).parameters.values()
    return [each.name for each in parameters if each.kind is not inspect.Parameter.VAR_KEYWORD][1:]


def merged(config: LossConfig | None, settings: Mapping[str, Any], options: Mapping[str, Any]) -> LossConfig:
    """Return the options of a loss: those given one by one, before what the model is set to, before ``config``."""
    return replace(config or LossConfig(), **{**settings, **options})


def extra_terms(found: Mapping[str, Tensor], loss: ASLLoss, *, weighted: bool) -> dict[str, Tensor]:
    """Return the losses beyond classification and localisation that are switched on, by the names to log them under.

    Args:
        found: What the loss gave.
        loss: The loss.
        weighted: Give each as it stands in the sum.
    """
    terms = {}
    if loss.evaluator is not None:
        terms["sensitivity_loss"] = found["sensitivity"]
    if loss.config.class_level and loss.config.signal != "loss":
        terms["fit_loss"] = found["fit"]
    if loss.contrast is not None:
        terms["contrastive_loss"] = found["contrastive"] * (loss.config.contrastive_weight if weighted else 1.0)
    return terms


def location_weight(found: Mapping[str, Tensor], config: LossConfig) -> Tensor:
    """Return the factor of the localisation loss in the sum."""
    weight = 0.0 if config.location_weight == "auto" else config.location_weight
    return location_balance(found["cls"].detach(), found["loc"].detach(), weight)


def without_asl(state_dict: Mapping[str, Value]) -> dict[str, Value]:
    """Return the weights of a model without those of its ASLLoss, as the unchanged code of its project loads them.

    Args:
        state_dict: By dotted name; of a model, or of one in a wrapper.
    """
    return {name: value for name, value in state_dict.items() if NAME not in name.split(".")}
