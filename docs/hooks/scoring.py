# SPDX-License-Identifier: Apache-2.0
"""Tables of the evaluation's protocols and conventions, from the records that the evaluation itself reads."""

from __future__ import annotations

from dataclasses import fields

from asl_fast.evaluation.conventions import CONVENTIONS, SHORTEST_POSITIVE_SEC, Convention
from asl_fast.evaluation.protocols import PROTOCOLS, Measure, Protocol

LABELS = {
    "duplicate_tolerance_sec": "duplicate annotations",
    "min_length_sec": "short annotations",
    "unknown_class": "class without annotation",
    "ties": "equal scores",
    "empty_union": "IoU 0/0",
    "union_floor_sec": "least union",
    "nan_scores": "NaN scores",
    "reversed_segments": "end before start",
    "recall_order": "Recall@kx ranks by",
    "recall_comparison": "Recall@kx hit",
    "recall_average": "Recall@kx averages",
    "recall_union": "Recall@kx union",
}


def protocols() -> str:
    """Return the table of how each benchmark is scored."""
    rows = ["| protocol | what is counted | thresholds | convention |", "| --- | --- | --- | --- |"]
    rows += [protocol_row(protocol) for protocol in PROTOCOLS.values()]
    return "\n".join(rows)


def protocol_row(protocol: Protocol) -> str:
    """Return one line of that table."""
    counts = protocol.counts
    if protocol.excluded_videos and "without" not in counts:
        counts += f"; without {', '.join(protocol.excluded_videos)}"
    measures = "<br>".join(measure_words(measure) for measure in protocol.measures)
    return f"| `{protocol.name}` | {counts} | {measures} | `{protocol.convention.name}` |"


def measure_words(measure: Measure) -> str:
    """Return what a measure reports and at which temporal IoU."""
    if measure.spotting is not None:
        return (
            f"{measure.name}: detection rate, false positives, Jaccard of detections above {measure.score_threshold:g}"
        )
    thresholds = measure.tiou_thresholds
    if len(thresholds) > 2 and not measure.ks:
        step = round(thresholds[1] - thresholds[0], 4)
        at = f"{thresholds[0]:g}:{step:g}:{thresholds[-1]:g}"
    else:
        at = ", ".join(f"{threshold:g}" for threshold in thresholds)
    recall = f"@{', '.join(f'{k}x' for k in measure.ks)}" if measure.ks else ""
    return f"{measure.name}{recall} at {at}"


def conventions() -> str:
    """Return the table of what evaluators decide, a column each."""
    shown = list(CONVENTIONS.values())
    rows = ["| " + " | ".join(["", *(f"`{convention.name}`" for convention in shown)]) + " |"]
    rows.append("| --- " * (len(shown) + 1) + "|")
    for field in fields(Convention):
        if field.name != "name":
            cells = [value_words(field.name, getattr(convention, field.name)) for convention in shown]
            rows.append(f"| {LABELS[field.name]} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def value_words(name: str, value: object) -> str:
    """Return one choice in words short enough for a cell."""
    if name == "duplicate_tolerance_sec":
        return "kept" if value is None else f"within {value:g} s removed"
    if name == "min_length_sec":
        if value is None:
            return "kept"
        return "of no length removed" if value == SHORTEST_POSITIVE_SEC else f"below {value:g} s removed"
    if name == "union_floor_sec":
        return f"{value:g} s" if value else "none"
    return str(value).replace("_", " ")
