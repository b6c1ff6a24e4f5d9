# SPDX-License-Identifier: Apache-2.0
"""What a finished run scores, where it loses, and what it takes for what; ready for JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from asl_fast.evaluation.analysis import analyse
from asl_fast.evaluation.confusion import confusion
from asl_fast.evaluation.mean_ap import MeanAveragePrecision
from asl_fast.evaluation.precision_recall import precision_recall
from asl_fast.evaluation.protocols import evaluate_protocol
from asl_fast.evaluation.recall import RecallAtK
from asl_fast.evaluation.spotting import Spotting
from asl_fast.reporting.packed import pack, shares
from asl_fast.reporting.run_record import TIOU, RunRecord
from asl_fast.reporting.timelines import Index


def scores(record: RunRecord, index: Index) -> dict[str, Any] | None:
    """Score a run by its own rules, anew from its detections.

    Returns:
        None for a run without an annotation in its test split. Otherwise ``measures``, of mAP ``ap`` (T, C) over
        ``classes`` (numbers) with ``annotations`` and ``predictions`` (C,); ``curves``, ``errors`` and ``confusion``.
        All in [0, 1].
    """
    truth, found = record.tables
    if not len(truth["video"]):
        return None
    assert record.truth is not None
    protocol = record.protocol
    videos = [str(video) for video in record.truth.videos]
    result = evaluate_protocol(protocol, truth, found, videos=videos, borders_sec=record.truth.borders_sec)
    main = result.measures[protocol.measures[0].name]
    assert isinstance(main, MeanAveragePrecision)
    number = {name: place for place, name in enumerate(index.classes)}
    durations = {str(video): seconds for video, seconds in record.truth.durations_sec.items()}
    curves = precision_recall(truth, found, main.tiou_thresholds, convention=protocol.convention)
    at_half = precision_recall(truth, found, TIOU, points=2, convention=protocol.convention)
    best_score = float(at_half.best_score[0])
    taken = confusion(truth, found, tiou=TIOU, min_score=best_score, convention=protocol.convention)
    rows, columns = np.nonzero(taken.counts)
    classes = [number[str(name)] for name in main.classes.tolist()]
    return {
        "measures": [_measure(name, measure) for name, measure in result.measures.items()],
        "average_map": main.average_map,
        "convention": protocol.convention.name,
        "videos": result.num_videos,
        "annotations": main.num_ground_truth,
        "detections": main.num_predictions,
        "classes": classes,
        "ap": _rounded(main.ap),
        "annotations_per_class": main.annotations_per_class.tolist(),
        "detections_per_class": main.predictions_per_class.tolist(),
        "best_score": _digits(best_score),
        "best_f1": _digits(float(at_half.best_f1[0])),
        "curves": {
            "points": len(curves.recall),
            "packed": pack({"precision": shares(curves.precision.ravel(), np.uint8)}),
        },
        "errors": analyse(truth, found, tiou=TIOU, durations_sec=durations, convention=protocol.convention).as_dict(),
        "confusion": {
            # A row or column number is a position in "classes"; the one after the last stands for none.
            "rows": rows.tolist(),
            "columns": columns.tolist(),
            "counts": taken.counts[rows, columns].tolist(),
        },
    }


def _measure(name: str, measure: MeanAveragePrecision | RecallAtK | Spotting) -> dict[str, Any]:
    """Return a table: names of its columns, which are thresholds but for spotting, and its rows."""
    if isinstance(measure, Spotting):
        values = np.array([measure.detection_rate, measure.false_positive_rate, measure.jaccard])
        row = {"name": f"scores from {measure.score_threshold:g}", "values": _rounded(values)}
        columns = ["detection rate", "false positives", "Jaccard index"]
        return {"name": f"{name} by the rules of {measure.rule}", "columns": columns, "rows": [row]}
    tious = [_digits(value) for value in measure.tiou_thresholds.tolist()]
    if isinstance(measure, MeanAveragePrecision):
        return {"name": name, "tious": tious, "rows": [{"name": name, "values": _rounded(measure.map)}]}
    rows = [
        {"name": f"{name}@{k}x", "values": _rounded(measure.recall[:, place])}
        for place, k in enumerate(measure.ks.tolist())
    ]
    return {"name": name, "tious": tious, "rows": rows}


def _digits(value: float) -> float:
    return float(f"{value:.6g}")


def _rounded(values: NDArray[np.float64]) -> Any:
    return np.round(values, 5).tolist()
