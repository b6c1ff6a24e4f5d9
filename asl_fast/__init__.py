# SPDX-License-Identifier: Apache-2.0
"""asl_fast: fast, trustworthy Action Sensitivity Learning for temporal action localisation."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# Not lazy: a module has the same name, and importing that later must not replace the class.
from asl_fast.backend import backend as backend

if TYPE_CHECKING:
    from asl_fast.losses import ASLLoss as ASLLoss
    from asl_fast.ops.assign_points import assign_points as assign_points
    from asl_fast.ops.contrastive_similarity import contrastive_similarity_loss as contrastive_similarity_loss
    from asl_fast.ops.diou_loss import diou_loss as diou_loss
    from asl_fast.ops.ragged import RaggedTargets as RaggedTargets
    from asl_fast.ops.segment_iou import segment_diou as segment_diou
    from asl_fast.ops.segment_iou import segment_iou as segment_iou
    from asl_fast.ops.segment_iou_ragged import segment_diou_ragged as segment_diou_ragged
    from asl_fast.ops.segment_iou_ragged import segment_iou_ragged as segment_iou_ragged
    from asl_fast.ops.sensitivity_focal_loss import sensitivity_focal_loss as sensitivity_focal_loss
    from asl_fast.ops.soft_nms import soft_nms as soft_nms

__version__ = "0.1.0"

_HOMES = {
    "ASLLoss": "asl_fast.losses",
    "RaggedTargets": "asl_fast.ops.ragged",
    "assign_points": "asl_fast.ops.assign_points",
    "contrastive_similarity_loss": "asl_fast.ops.contrastive_similarity",
    "diou_loss": "asl_fast.ops.diou_loss",
    "segment_diou": "asl_fast.ops.segment_iou",
    "segment_diou_ragged": "asl_fast.ops.segment_iou_ragged",
    "segment_iou": "asl_fast.ops.segment_iou",
    "segment_iou_ragged": "asl_fast.ops.segment_iou_ragged",
    "sensitivity_focal_loss": "asl_fast.ops.sensitivity_focal_loss",
    "soft_nms": "asl_fast.ops.soft_nms",
}

__all__ = ["__version__", "backend", *_HOMES]


def __getattr__(name: str) -> Any:
    """Import a public name at first use, so that ``import asl_fast`` alone does not even load torch."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(
            f"module 'asl_fast' has no attribute {name!r}; public names are {', '.join(sorted(__all__))}"
        )
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
