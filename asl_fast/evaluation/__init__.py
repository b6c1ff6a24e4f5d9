# SPDX-License-Identifier: Apache-2.0
"""Evaluation of temporal action detections; knows nothing of models."""

from asl_fast.evaluation.analysis import Analysis, analyse
from asl_fast.evaluation.conventions import CONVENTIONS, DEFAULT, Convention, get_convention
from asl_fast.evaluation.fusion import combine_verbs_and_nouns, fuse_video_scores
from asl_fast.evaluation.mean_ap import MeanAveragePrecision, mean_average_precision
from asl_fast.evaluation.protocols import PROTOCOLS, Protocol, ProtocolResult, evaluate_protocol, get_protocol
from asl_fast.evaluation.recall import RecallAtK, recall_at_k

__all__ = [
    "CONVENTIONS",
    "DEFAULT",
    "PROTOCOLS",
    "Analysis",
    "Convention",
    "MeanAveragePrecision",
    "Protocol",
    "ProtocolResult",
    "RecallAtK",
    "analyse",
    "combine_verbs_and_nouns",
    "evaluate_protocol",
    "fuse_video_scores",
    "get_convention",
    "get_protocol",
    "mean_average_precision",
    "recall_at_k",
]
