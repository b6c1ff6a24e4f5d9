# SPDX-License-Identifier: Apache-2.0
"""Scores as a table for the terminal."""

from __future__ import annotations

from asl_fast.evaluation import MeanAveragePrecision
from asl_fast.training.inference import Scores


def format_scores(scores: Scores) -> str:
    """mAP per threshold in percent with its average, one block of two lines per list of thresholds."""
    return "\n\n".join(_block(each) for each in (scores.main, scores.strict) if each is not None)


def _block(result: MeanAveragePrecision) -> str:
    head = ["tIoU", *(f"{threshold:g}" for threshold in result.tiou_thresholds), "average"]
    row = ["mAP %", *(f"{100 * value:.2f}" for value in result.map), f"{100 * result.average_map:.2f}"]
    return "\n".join("  ".join(f"{cell:>7}" for cell in line) for line in (head, row))
