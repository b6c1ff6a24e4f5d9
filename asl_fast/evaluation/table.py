# SPDX-License-Identifier: Apache-2.0
"""Results as plain text."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np

from asl_fast.evaluation.analysis import Analysis
from asl_fast.evaluation.mean_ap import MeanAveragePrecision
from asl_fast.evaluation.protocols import ProtocolResult
from asl_fast.evaluation.published import PUBLISHED
from asl_fast.evaluation.recall import RecallAtK
from asl_fast.evaluation.spotting import Spotting
from asl_fast.wording import count, escape_formula, printable


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with columns aligned: the first to the left, the others to the right; names as text that is safe."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width) for index, (cell, width) in enumerate(pairs)
        ).rstrip()
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    ]


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def _threshold(value: float) -> str:
    return f"{value:.2f}"


def result_table(result: ProtocolResult, *, per_class: bool = False) -> str:
    """Write the measures of a protocol in percent, one block each, with what was counted above them.

    Args:
        result: What :func:`evaluate_protocol` returned.
        per_class: Add average precision of every class.
    """
    protocol = result.protocol
    main = next(iter(result.measures.values()))
    lines = [f"{protocol.name}: {protocol.counts}" if protocol.counts else protocol.name]
    counts = f"{count(result.num_videos, 'video')}, {count(main.num_ground_truth, 'annotation')}"
    if isinstance(main, MeanAveragePrecision):
        counts += f", {count(main.num_predictions, 'prediction')}"
        for number, noun, what in (
            (main.num_removed_annotations, "annotation", "removed as duplicate or too short"),
            (main.num_ignored_predictions, "prediction", "of classes without annotation ignored"),
            (result.num_excluded_predictions, "prediction", "in videos not scored left out"),
        ):
            counts += f", {count(number, noun)} {what}" if number else ""
    lines += [f"{counts}; convention {protocol.convention.name}", ""]
    for name, measure in result.measures.items():
        lines += [*_block(name, measure), ""]
    if per_class:
        for name, measure in result.measures.items():
            if isinstance(measure, MeanAveragePrecision):
                lines += [*class_lines(measure, name), ""]
    return "\n".join(lines[:-1])


def _block(name: str, measure: MeanAveragePrecision | RecallAtK | Spotting) -> list[str]:
    if isinstance(measure, Spotting):
        return spotting_lines(measure)
    header = ["tIoU", *map(_threshold, measure.tiou_thresholds.tolist()), "average"]
    if isinstance(measure, MeanAveragePrecision):
        return align([header, [f"{name} (%)", *map(_percent, measure.map.tolist()), _percent(measure.average_map)]])
    rows = [header]
    for k, values in zip(measure.ks.tolist(), measure.recall.T, strict=True):
        rows.append([f"{name}@{k}x (%)", *map(_percent, values.tolist()), _percent(float(values.mean()))])
    return align(rows)


def spotting_lines(measure: Spotting) -> list[str]:
    """Rates of a track's own protocol, beside those of published methods."""
    unit = "" if measure.by_frame else ", in seconds as the frames are not known"
    rates = (measure.detection_rate, measure.false_positive_rate, measure.jaccard)
    what = f"this (offline), scores from {measure.score_threshold:g}"
    rows = [
        [f"{measure.rule}'s own protocol{unit}", "detection rate", "false positives", "Jaccard"],
        [what, *(f"{rate:.4f}" for rate in rates)],
    ]
    for each in PUBLISHED.get(measure.rule, ()):
        rates = (each.detection_rate, each.false_positive_rate, each.jaccard)
        rows.append([f"{each.method} (published, online)", *(f"{rate:.4f}" for rate in rates)])
    return align(rows)


def class_lines(measure: MeanAveragePrecision, name: str = "mAP") -> list[str]:
    """AP of each class in percent, by descending mean over thresholds."""
    rows = [
        [f"class ({name})", *map(_threshold, measure.tiou_thresholds.tolist()), "average", "annotations", "predictions"]
    ]
    mean = measure.ap.mean(axis=0)
    for index in np.argsort(-mean, kind="stable").tolist():
        rows.append(
            [
                str(measure.classes[index]),
                *map(_percent, measure.ap[:, index].tolist()),
                _percent(float(mean[index])),
                str(measure.annotations_per_class[index]),
                str(measure.predictions_per_class[index]),
            ]
        )
    return align(rows)


def analysis_table(analysis: Analysis) -> str:
    """Kinds of predictions, then annotations by characteristic; shares and mAP in percent."""
    multiples = range(1, len(analysis.kinds[0].share) + 1)
    kinds = [
        [f"top predictions at tIoU {analysis.tiou:g} (%)", *(f"{k}G" for k in multiples), "mAP gain", "mAP_N gain"]
    ]
    for kind in analysis.kinds:
        gains = (kind.map_gain, kind.normalized_map_gain) if kind.name != analysis.kinds[0].name else ()
        shown = [f"{100 * gain:+.2f}" for gain in gains] or ["", ""]
        kinds.append([kind.name, *(f"{100 * share:.1f}" for share in kind.share), *shown])
    found = [["annotations by characteristic", "number", "mAP_N (%)", "missed (%)"]]
    for bucket in analysis.buckets:
        name = f"{bucket.characteristic} {bucket.range}"
        found.append([name, str(bucket.annotations), _percent(bucket.normalized_map), f"{100 * bucket.missed:.1f}"])
    found.append(["all", str(sum(_annotations(analysis))), _percent(analysis.normalized_map), ""])
    return "\n".join([*align(kinds), "", *align(found)])


def _annotations(analysis: Analysis) -> list[int]:
    first = analysis.buckets[0].characteristic
    return [bucket.annotations for bucket in analysis.buckets if bucket.characteristic == first]


def class_csv(measure: MeanAveragePrecision) -> str:
    """One row per class: class, annotations, predictions, AP at each threshold, average; in [0, 1]."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    thresholds = [f"ap@{threshold:g}" for threshold in measure.tiou_thresholds.tolist()]
    writer.writerow(["class", "annotations", "predictions", *thresholds, "average"])
    for index, name in enumerate(measure.classes.tolist()):
        counts = int(measure.annotations_per_class[index]), int(measure.predictions_per_class[index])
        ap = measure.ap[:, index]
        writer.writerow([escape_formula(printable(str(name))), *counts, *ap.tolist(), float(ap.mean())])
    return text.getvalue()
