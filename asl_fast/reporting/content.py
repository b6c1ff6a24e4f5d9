# SPDX-License-Identifier: Apache-2.0
"""All that a page of one run or of two shows, as plain values ready for JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from asl_fast.evaluation.analysis import KINDS
from asl_fast.reporting.facts import data_name, facts, short_names
from asl_fast.reporting.history import history
from asl_fast.reporting.packed import pack, shares
from asl_fast.reporting.run_record import TIOU, RunRecord
from asl_fast.reporting.scores import scores
from asl_fast.reporting.sensitivities import COLUMNS, Sensitivities
from asl_fast.reporting.timelines import (
    MOST_DETECTIONS,
    MOST_OF_A_VIDEO,
    Index,
    check_comparable,
    make_index,
    pack_detections,
    pack_truth,
)
from asl_fast.wording import printable

POSITIONS = np.linspace(-0.75, 0.75, 61)
"""Where sensitivities are drawn, in instance lengths from the centre."""


def content(
    records: Sequence[RunRecord], media: Mapping[str, str] | None = None, *, most: int = MOST_DETECTIONS
) -> dict[str, Any]:
    r"""Gather what a page shows. Names are made safe to show: ``\x1b`` for an escape character.

    Args:
        records: One run, or two to compare.
        media: Video -> URL of its file.
        most: Detections that the timelines of all runs hold together; scores always count all.

    Raises:
        ValueError: Two runs were scored against different annotations.
    """
    check_comparable(records)
    index = make_index(records)
    durations: dict[str, float] = {}
    for record in reversed(records):
        if record.truth is not None:
            durations |= {str(video): seconds for video, seconds in record.truth.durations_sec.items()}
    finished = max(sum(record.finished for record in records), 1)
    return {
        "title": printable(_title(records)),
        "classes": [printable(name) for name in index.classes],
        "videos": {
            "names": [printable(name) for name in index.videos],
            "durations": [float(f"{durations[name]:.6g}") if name in durations else None for name in index.videos],
            "media": None if media is None else [media.get(name) for name in index.videos],
        },
        "tick": index.tick_sec,
        "tiou": TIOU,
        "kinds": list(KINDS),
        "branches": list(COLUMNS),
        "positions": [round(float(position), 4) for position in POSITIONS],
        "truth": pack_truth(records, index),
        "runs": [
            _run(record, name, index, most // finished, MOST_OF_A_VIDEO // finished)
            for record, name in zip(records, short_names(records), strict=True)
        ],
    }


def _title(records: Sequence[RunRecord]) -> str:
    return ", ".join(dict.fromkeys(map(data_name, records)))


def _run(record: RunRecord, name: str, index: Index, most: int, most_of_a_video: int) -> dict[str, Any]:
    return {
        "name": printable(name),
        "facts": [[label, printable(value)] for label, value in facts(record)],
        "synthetic": bool(record.dataset.get("synthetic", False)),
        "finished": record.finished,
        "history": history(record.metrics, record.total_epochs),
        "scores": scores(record, index) if record.finished else None,
        "sensitivity": None if record.learned is None else _sensitivity(record.learned, index),
        "why_nothing_learned": record.why_nothing_learned,
        "detections": pack_detections(record, index, most, most_of_a_video) if record.finished else None,
    }


def _sensitivity(learned: Sensitivities, index: Index) -> dict[str, Any]:
    """Curves of the classes that occurred in training: (C, 3, P) each, in [0, 1]."""
    number = {name: place for place, name in enumerate(index.classes)}
    shown = np.flatnonzero(learned.trained)
    columns = {"learned": shares(learned.learned.curves(POSITIONS)[shown].ravel(), np.uint8)}
    if learned.planted is not None:
        columns["planted"] = shares(learned.planted.curves(POSITIONS)[shown].ravel(), np.uint8)
    return {
        "classes": [number[learned.class_names[place]] for place in shown.tolist()],
        "centres": np.round(learned.learned.mu[shown], 3).tolist(),
        "widths": np.round(learned.learned.sigma[shown], 3).tolist(),
        "packed": pack(columns),
    }
