# SPDX-License-Identifier: Apache-2.0
"""Evaluation of temporal action detections; knows nothing of models."""

from asl_fast.evaluation.conventions import CONVENTIONS, DEFAULT, Convention, get_convention
from asl_fast.evaluation.mean_ap import MeanAveragePrecision, mean_average_precision
from asl_fast.evaluation.recall import RecallAtK, recall_at_k

__all__ = [
    "CONVENTIONS",
    "DEFAULT",
    "Convention",
    "MeanAveragePrecision",
    "RecallAtK",
    "get_convention",
    "mean_average_precision",
    "recall_at_k",
]
