# SPDX-License-Identifier: Apache-2.0
"""The training losses of Action Sensitivity Learning."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asl_fast.losses.asl_loss import ASLLoss as ASLLoss
    from asl_fast.losses.config import LossConfig as LossConfig
    from asl_fast.ops.ragged import RaggedTargets as RaggedTargets

_HOMES = {
    "ASLLoss": "asl_fast.losses.asl_loss",
    "LossConfig": "asl_fast.losses.config",
    "RaggedTargets": "asl_fast.ops.ragged",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    """Import a public name at first use, so that the options of the loss can be read without loading torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'asl_fast.losses' has no attribute {name!r}; public names are {sorted(__all__)}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value
