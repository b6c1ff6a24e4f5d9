# SPDX-License-Identifier: Apache-2.0
"""Whether what a checkpoint holds fits what takes it: its keys, their kinds, the names and shapes of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from asl_fast.training.checkpoint import CheckpointError

KINDS: dict[str, tuple[type, ...]] = {
    "config": (dict,),
    "dataset": (dict,),
    "detector": (dict,),
    "loss": (dict,),
    "average": (dict,),
    "optimizer": (dict,),
    "rng": (list, tuple),
    "videos_per_step": (int,),
    "epoch": (int,),
    "step": (int,),
    "best_map": (float, int, type(None)),
    "best_epoch": (int, type(None)),
}
"""What a checkpoint holds under each key."""


def check_keys(content: Mapping[str, Any], keys: tuple[str, ...], path: Path) -> None:
    """Check that a checkpoint has what is read of it.

    Args:
        content: Of the checkpoint.
        keys: Some of `KINDS`.
        path: Where the checkpoint lies, for the message.

    Raises:
        CheckpointError: Naming the key that is missing or holds something else.
    """
    for key in keys:
        if key not in content:
            raise CheckpointError(f"{path} lacks {key!r}; use another checkpoint or train again")
        value, kinds = content[key], KINDS[key]
        negative = isinstance(value, (int, float)) and not value >= 0
        if not isinstance(value, kinds) or isinstance(value, bool) or negative:
            raise CheckpointError(f"{path}: {key!r} is {value!r:.60}; use another checkpoint or train again")


def check_weights(found: Any, expected: Mapping[str, Tensor], part: str, path: Path) -> None:
    """Check that saved weights have the names and shapes that a module has.

    Args:
        found: Tensors by name, as the checkpoint has them.
        expected: Tensors by name, as the module has them.
        part: What the checkpoint calls them, for the message.
        path: Where the checkpoint lies, for the message.

    Raises:
        CheckpointError: Naming the first that is missing, unknown or of another shape.
    """
    if not isinstance(found, Mapping):
        raise CheckpointError(f"{path}: {part} holds {type(found).__name__}, not weights by name")
    for name, tensor in expected.items():
        if not isinstance(found.get(name), Tensor):
            raise CheckpointError(f"{path} lacks {part}.{name}; does its configuration belong to these weights?")
        if found[name].shape != tensor.shape:
            raise CheckpointError(
                f"{path}: {part}.{name} has shape {tuple(found[name].shape)}, but its configuration makes it "
                f"{tuple(tensor.shape)}"
            )
    if unknown := [name for name in found if name not in expected]:
        raise CheckpointError(f"{path}: {part}.{unknown[0]} is unknown; was it written by another version of asl_fast?")


def check_optimizer(found: Any, optimizer: Optimizer, path: Path) -> None:
    """Check that the saved state of an optimiser has a moment of the right shape for every parameter.

    Raises:
        CheckpointError: Naming the group or parameter that does not fit.
    """
    if not isinstance(found, Mapping) or not {"state", "param_groups"} <= found.keys():
        raise CheckpointError(f"{path}: optimizer lacks 'state' or 'param_groups'; train again")
    groups = found["param_groups"]
    sizes = [len(group["params"]) for group in optimizer.param_groups]
    if not isinstance(groups, (list, tuple)) or not all(isinstance(group, Mapping) for group in groups):
        raise CheckpointError(f"{path}: optimizer.param_groups is no list of groups; train again")
    saved = [len(group.get("params", ())) for group in groups]
    if saved != sizes:
        raise CheckpointError(f"{path}: optimizer has groups of {saved} parameters, expected {sizes}; train again")
    for group, own in zip(groups, optimizer.param_groups, strict=True):
        if missing := sorted(set(own) - set(group)):
            raise CheckpointError(f"{path} lacks optimizer.param_groups {missing[0]!r}; train again")
        for index, parameter in zip(group["params"], own["params"], strict=True):
            moments = found["state"].get(index, {})
            for name in ("exp_avg", "exp_avg_sq") if moments else ():
                moment = moments.get(name)
                if not isinstance(moment, Tensor) or moment.shape != parameter.shape:
                    shape = tuple(moment.shape) if isinstance(moment, Tensor) else moment
                    raise CheckpointError(
                        f"{path}: optimizer.state[{index}].{name} has shape {shape}, its parameter "
                        f"{tuple(parameter.shape)}; train again"
                    )
            if moments and "step" not in moments:
                raise CheckpointError(f"{path} lacks optimizer.state[{index}].step; train again")
