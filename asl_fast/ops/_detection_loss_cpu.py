# SPDX-License-Identifier: Apache-2.0
"""asl_fast::detection_loss by the C++ kernels of its three parts; all else looks at the positive points alone."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from asl_fast.ops._assign_points_cpu import assign_points
from asl_fast.ops._diou_loss_cpu import diou_loss
from asl_fast.ops._sensitivity_focal_loss_cpu import sensitivity_focal_loss
from asl_fast.reference.detection_loss import Parts, PositiveRows, compose, compose_backward

_PARTS = Parts(assign_points, sensitivity_focal_loss, diou_loss, PositiveRows)


def detection_loss(*arguments: Any) -> tuple[Tensor, ...]:
    """The op's schema."""
    return compose(_PARTS, *arguments)


def detection_loss_backward(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The op's schema."""
    return compose_backward(PositiveRows, *arguments)
