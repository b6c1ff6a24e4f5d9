# SPDX-License-Identifier: Apache-2.0
"""Mean average precision and Recall@kx of a validation set, against ActionFormer's evaluator on one processor each."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from asl_fast import native
from asl_fast.evaluation import mean_average_precision, recall_at_k
from benchmarks import actionformer
from benchmarks.registry import Case, Scale, close

TIOU = np.linspace(0.1, 0.5, 5)
KS = (1, 5)
EPIC_VIDEOS, EPIC_INSTANCES, EPIC_KEPT, EPIC_CLASSES = 138, 9_668, 2_000, 97
Table = dict[str, Any]
Result = tuple[Any, ...]


def cases(device: str) -> list[Case]:
    """Declare EPIC-Kitchens-100's validation set, 2,000 predictions a video; a tenth; and ten million predictions."""
    if device != "cpu":
        return []  # evaluation has no GPU path
    tenth = EPIC_VIDEOS // 10, EPIC_INSTANCES // 10, EPIC_KEPT, EPIC_CLASSES
    return [
        _case("4 videos", (4, 60, 50, 5), "small", 1),
        _case("EPIC-100 validation, a tenth", tenth, "real", 1),
        _case("EPIC-100 validation", (EPIC_VIDEOS, EPIC_INSTANCES, EPIC_KEPT, EPIC_CLASSES), "large", 1),
        _case("ten million", (5_000, 350_000, 2_000, EPIC_CLASSES), "large", None, alone=True),
    ]


def _case(name: str, sizes: tuple[int, int, int, int], scale: Scale, threads: int | None, alone: bool = False) -> Case:
    videos, instances, kept, classes = sizes
    baselines: dict[str, Callable[..., Any]] = {}
    if not alone:
        baselines["numpy"] = numpy_path
        if actionformer.load() is not None:
            baselines["ActionFormer"] = theirs
    return Case(
        f"{name}: {videos * kept:,} predictions, {instances:,} instances",
        lambda: make_tables(videos, instances, kept, classes),
        evaluate,
        baselines,
        items=videos * kept,
        scale=scale,
        compiled=None,
        threads=threads,
        agree=close(1e-9, 1e-9),
    )


def evaluate(ground_truth: Table, predictions: Table) -> Result:
    """Score by ActionFormer's rules: mAP per threshold and recall per threshold and k."""
    precision = mean_average_precision(ground_truth, predictions, TIOU, convention="actionformer")
    recall = recall_at_k(ground_truth, predictions, TIOU, KS, convention="actionformer")
    return precision.map, recall.recall


def numpy_path(ground_truth: Table, predictions: Table) -> Result:
    """Score without the C++ module."""
    with mock.patch.object(native, "cpu_module", lambda: None):
        return evaluate(ground_truth, predictions)


def theirs(ground_truth: Table, predictions: Table) -> Result:
    """Run ActionFormer's evaluator on one processor; reading the annotations takes about a thousandth of it."""
    loaded = actionformer.load()
    assert loaded is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ground_truth.json"
        path.write_text(json.dumps(_as_json(ground_truth)))
        evaluator = loaded.metrics.ANETdetection(str(path), "val", TIOU, KS, num_workers=1)
    columns = {
        "video-id": predictions["video"].tolist(),
        "t-start": predictions["segments"][:, 0],
        "t-end": predictions["segments"][:, 1],
        "label": predictions["labels"],
        "score": predictions["scores"],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        mean_ap, _, recall = evaluator.evaluate(columns, verbose=False)
    return mean_ap, recall


def make_tables(videos: int, instances: int, kept: int, classes: int) -> tuple[Table, Table]:
    """Draw annotations, and predictions that are moved annotations of their video; no two scores are equal.

    Three of four predictions carry the class of their annotation.
    """
    generator = np.random.default_rng(0)
    names = np.array([f"video_{index:05}" for index in range(videos)])
    owner = np.sort(np.concatenate([np.arange(videos), generator.integers(videos, size=instances - videos)]))
    start = generator.uniform(0, 600, instances)
    segments = np.stack([start, start + np.exp(generator.normal(0.7, 0.8, instances))], 1)
    labels = generator.integers(classes, size=instances)
    first, counts = np.searchsorted(owner, np.arange(videos)), np.bincount(owner, minlength=videos)
    video = np.repeat(np.arange(videos), kept)
    count = len(video)
    chosen = first[video] + (generator.random(count) * counts[video]).astype(np.int64)
    length = segments[chosen, 1] - segments[chosen, 0]
    noise = generator.normal(0, 0.3, (count, 2))
    moved = segments[chosen, 0] + noise[:, 0] * length
    found = np.stack([moved, moved + length * np.exp(noise[:, 1])], 1)
    scores = np.empty(count)
    quality = -np.abs(noise).sum(1) + generator.normal(0, 0.3, count)
    scores[np.argsort(-quality)] = np.linspace(0.99, 0.001, count)
    stray = generator.random(count) < 0.25
    predicted = np.where(stray, generator.integers(classes, size=count), labels[chosen])
    known = np.isin(predicted, labels)  # what no annotation has is treated alike, but tells nothing
    return (
        {"video": names[owner], "segments": segments, "labels": labels},
        {"video": names[video[known]], "segments": found[known], "labels": predicted[known], "scores": scores[known]},
    )


def _as_json(ground_truth: Table) -> Table:
    database: Table = {name: {"subset": "val", "annotations": []} for name in np.unique(ground_truth["video"]).tolist()}
    columns = (ground_truth[key].tolist() for key in ("video", "segments", "labels"))
    for name, segment, label in zip(*columns, strict=True):
        database[name]["annotations"].append({"segment": segment, "label_id": label})
    return {"database": database}
