# SPDX-License-Identifier: Apache-2.0
"""Run asl_fast::detection_loss by the C++ kernels of its parts; all else takes the positive points alone."""

from __future__ import annotations

from asl_fast.ops import _assign_points_native, _diou_loss_native, _sensitivity_focal_loss_native
from asl_fast.reference._detection_loss_rows import PositiveRows
from asl_fast.reference.detection_loss import Operands, Outputs, Parts, compose
from asl_fast.reference.detection_loss_backward import BackwardOperands, BackwardOutputs, compose_backward

_PARTS = Parts(
    assign_points=_assign_points_native.cpu,
    sensitivity_focal_loss=_sensitivity_focal_loss_native.cpu,
    diou_loss=_diou_loss_native.cpu,
    rows=PositiveRows,
)


def cpu(given: Operands) -> Outputs:
    """Compute the formula of the reference over C++ parts."""
    return compose(_PARTS, given)


def cpu_backward(given: BackwardOperands) -> BackwardOutputs:
    """Compute the gradients as the reference does, of the positive points alone."""
    return compose_backward(PositiveRows, given)
