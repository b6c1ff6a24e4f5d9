# SPDX-License-Identifier: Apache-2.0
"""The ops. Each file holds one: schema, checks, shapes for tracing, derivative, implementations, public function."""

from asl_fast.ops._dispatch import backends, slow_ops
from asl_fast.ops.assign_points import PointAssignment, assign_points
from asl_fast.ops.contrastive_similarity import contrastive_similarity_loss
from asl_fast.ops.detection_loss import DetectionLoss, detection_loss
from asl_fast.ops.diou_loss import diou_loss
from asl_fast.ops.gaussians import RawGaussians
from asl_fast.ops.local_attention import local_attention
from asl_fast.ops.ragged import RaggedTargets
from asl_fast.ops.segment_iou import segment_diou, segment_iou
from asl_fast.ops.segment_iou_ragged import RaggedPairs, segment_diou_ragged, segment_iou_ragged
from asl_fast.ops.sensitivity_focal_loss import sensitivity_focal_loss
from asl_fast.ops.soft_nms import SoftNMSResult, soft_nms

__all__ = [
    "DetectionLoss",
    "PointAssignment",
    "RaggedPairs",
    "RaggedTargets",
    "RawGaussians",
    "SoftNMSResult",
    "assign_points",
    "backends",
    "contrastive_similarity_loss",
    "detection_loss",
    "diou_loss",
    "local_attention",
    "segment_diou",
    "segment_diou_ragged",
    "segment_iou",
    "segment_iou_ragged",
    "sensitivity_focal_loss",
    "slow_ops",
    "soft_nms",
]
