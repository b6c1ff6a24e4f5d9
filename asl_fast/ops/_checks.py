# SPDX-License-Identifier: Apache-2.0
"""Argument checks of the public functions: shape, dtype and device, never values, so they trace and never sync."""

from __future__ import annotations

import torch
from torch import Tensor

REDUCTIONS = ("none", "sum", "mean")


def floating(op: str, **tensors: Tensor | None) -> None:
    """Raise TypeError unless every given tensor is floating point."""
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{op}: {name} must be a tensor, got {type(tensor).__name__}")
        if not tensor.is_floating_point():
            raise TypeError(f"{op}: {name} must be floating point, got {tensor.dtype}; convert it with .float()")


def same_device(op: str, **tensors: Tensor | None) -> None:
    """Raise ValueError unless all given tensors lie on one device."""
    first: tuple[str, torch.device] | None = None
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        if first is None:
            first = (name, tensor.device)
        elif tensor.device != first[1]:
            raise ValueError(f"{op}: {first[0]} is on {first[1]} but {name} on {tensor.device}; move one with .to()")


def reduction(op: str, value: str) -> None:
    """Raise ValueError unless ``value`` is none, sum or mean."""
    if value not in REDUCTIONS:
        raise ValueError(f"{op}: reduction must be one of {', '.join(REDUCTIONS)}, got {value!r}")


def broadcastable(op: str, **shapes: torch.Size) -> None:
    """Raise ValueError unless the leading dimensions broadcast."""
    try:
        broadcast(*shapes.values())
    except RuntimeError as error:
        given = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
        raise ValueError(f"{op}: leading dimensions do not broadcast: {given}") from error


def broadcast(*shapes: torch.Size) -> tuple[int, ...]:
    """Return the shape that all of them broadcast to."""
    return tuple(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]
