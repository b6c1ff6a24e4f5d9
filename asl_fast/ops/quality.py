# SPDX-License-Identifier: Apache-2.0
"""How good a prediction at a point is, for losses that learn from it; the detection loss computes the same."""

from __future__ import annotations

from asl_fast.reference.quality import class_probability, offset_iou

__all__ = ["class_probability", "offset_iou"]
