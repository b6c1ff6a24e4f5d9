# SPDX-License-Identifier: Apache-2.0
"""The scores of an ablation's finished runs, and how much its variants differ beyond chance."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asl_fast.evaluation.activitynet_json import SegmentFile, read_detections, read_ground_truth
from asl_fast.evaluation.columns import read_columns
from asl_fast.evaluation.conventions import DEFAULT
from asl_fast.evaluation.protocols import PROTOCOLS
from asl_fast.evaluation.spotting import count_results
from asl_fast.files import read_json, read_text
from asl_fast.training.run_folder import RunFolder
from benchmarks.recovery import recovery
from benchmarks.resampling import Weights, draw_recordings, interval, match_run, resampled_map

STRICT, JACCARD = "strict mAP", "Jaccard"
STRICT_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
REFERENCES = ("plain", "constant")
_SEED = 20231002  # of the draws, so that the same runs give the same intervals
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class ScoredRun:
    """A finished run.

    Attributes:
        seed: Of the run.
        folder: Where it lies.
        recordings: Names of what it was scored on.
        truth: Annotations of these by recording and class, to tell whether two runs were scored on the same.
        scores: Per measure ``tiou_thresholds``, ``map`` and ``average_map``.
        others: What its benchmark counts beside mean average precision, by name.
        resampled: Per measure (B,) average mAP of drawn recordings; also the Jaccard index of a gesture track.
        recovery: How well a twin's planted sensitivities were found, see `benchmarks.recovery`.
        training_seconds: Of all epochs.
    """

    seed: int
    folder: RunFolder
    recordings: tuple[str, ...]
    truth: tuple[Any, ...]
    scores: dict[str, dict[str, Any]]
    others: dict[str, float]
    resampled: dict[str, NDArray[np.float64]]
    recovery: dict[str, float] | None
    training_seconds: float

    def once(self, measure: str) -> float:
        """Return the value of a measure on the recordings as they are."""
        return float(self.scores[measure]["average_map"] if measure in self.scores else self.others[measure])


def score_run(folder: RunFolder, seed: int, draws: int) -> ScoredRun:
    """Score a finished run from its detections, on its recordings and on drawn ones.

    Args:
        folder: Of the run.
        seed: Of the run.
        draws: How many times recordings are drawn; the same draws for all runs.

    Raises:
        ValueError: When the detections in the folder are not those that its evaluation scored.
    """
    evaluation = read_json(folder.evaluation)
    truth, found = read_ground_truth(folder.ground_truth), read_detections(folder.detections)
    recordings = tuple(sorted(truth.videos))
    measures = {
        name: tuple(measure["tiou_thresholds"])
        for name, measure in evaluation["measures"].items()
        if "average_map" in measure
    }
    measures.setdefault(STRICT, STRICT_THRESHOLDS)
    every = tuple(sorted({threshold for thresholds in measures.values() for threshold in thresholds}))
    matched = match_run(truth.columns, found.columns, recordings, every, evaluation["convention"])
    once = resampled_map(matched, np.ones((1, len(recordings)), dtype=np.int64))[0]
    weights = draw_recordings(len(recordings), draws, np.random.default_rng(_SEED))
    drawn = resampled_map(matched, weights)
    scores: dict[str, dict[str, Any]] = {}
    resampled: dict[str, NDArray[np.float64]] = {}
    for name, thresholds in measures.items():
        columns = [every.index(threshold) for threshold in thresholds]
        values = once[columns]
        scores[name] = {
            "tiou_thresholds": list(thresholds),
            "map": values.tolist(),
            "average_map": float(values.mean()),
        }
        resampled[name] = drawn[:, columns].mean(axis=1)
        said = evaluation["measures"].get(name, scores[name])["average_map"]
        if not abs(said - scores[name]["average_map"]) <= _ROUNDING:
            raise ValueError(
                f"{folder.path}: its detections score {scores[name]['average_map']:.6f} and evaluation.json says "
                f"{said:.6f} ({name}); remove the folder to train it again"
            )
    others, others_resampled = spotting_scores(evaluation["measures"], truth, found, recordings, weights)
    return ScoredRun(
        seed=seed,
        folder=folder,
        recordings=recordings,
        truth=_truth(truth.columns),
        scores=scores,
        others=others,
        resampled=resampled | others_resampled,
        recovery=recovery(folder.path) if read_json(folder.dataset)["synthetic"] else None,
        training_seconds=_training_seconds(folder),
    )


def _truth(columns: Mapping[str, NDArray[Any]]) -> tuple[Any, ...]:
    rows = zip(columns["video"].tolist(), columns["labels"].tolist(), columns["segments"].tolist(), strict=True)
    return tuple(sorted((video, label, *segment) for video, label, segment in rows))


def spotting_scores(
    measures: Mapping[str, Mapping[str, Any]],
    truth: SegmentFile,
    found: SegmentFile,
    recordings: Sequence[str],
    weights: Weights,
) -> tuple[dict[str, float], dict[str, NDArray[np.float64]]]:
    """Return what a gesture track counts, where the data set is one: once, and (B,) its Jaccard index of draws."""
    rules = {each.spotting.name: each.spotting for one in PROTOCOLS.values() for each in one.measures if each.spotting}
    for measure in measures.values():
        if measure.get("rule") not in rules:
            continue
        counts = count_results(
            read_columns(truth.columns, "ground_truth", DEFAULT),
            read_columns(found.columns, "predictions", DEFAULT),
            rules[measure["rule"]],
            score_threshold=measure["score_threshold"],
            borders_sec=truth.borders_sec,
        )
        drawn = weights[:, [recordings.index(video) for video in counts.videos.tolist()]]
        annotated, correct, false = (drawn @ each for each in (counts.annotated, counts.correct, counts.false))
        jaccard = np.divide(correct, annotated + false, out=np.zeros(annotated.shape), where=annotated + false > 0)
        present = annotated > 0
        mean = (jaccard * present).sum(axis=1) / np.maximum(present.sum(axis=1), 1)
        once = {
            "detection rate": measure["detection_rate"],
            "false positives": measure["false_positive_rate"],
            JACCARD: measure["jaccard"],
        }
        return once, {JACCARD: mean}
    return {}, {}


def _training_seconds(folder: RunFolder) -> float:
    lines = (json.loads(line) for line in read_text(folder.metrics).splitlines())
    return sum(line["seconds"] for line in lines if line["kind"] == "epoch")


def check_same_recordings(runs: Sequence[ScoredRun]) -> None:
    """Check that runs can be compared recording by recording.

    Raises:
        ValueError: Naming two runs that were scored on different recordings or annotations.
    """
    for run in runs[1:]:
        if (run.recordings, run.truth) != (runs[0].recordings, runs[0].truth):
            raise ValueError(
                f"{run.folder.path} and {runs[0].folder.path} were scored on different recordings or annotations; "
                "give each data set an --output of its own"
            )


def differences(rows: Mapping[str, Sequence[ScoredRun]]) -> list[dict[str, Any]]:
    """Compare every variant with every reference, seed by seed and recording by recording.

    Args:
        rows: Finished runs by variant.

    Returns:
        For each variant, reference and measure: ``seeds`` that both have, the difference of ``each``, their ``mean``,
        and its bounds ``low`` and ``high`` (95 %, `benchmarks.resampling.interval`).
    """
    found = []
    for reference in REFERENCES:
        for variant, runs in rows.items():
            if variant == reference or reference not in rows:
                continue
            before = {run.seed: run for run in rows[reference]}
            pairs = [(run, before[run.seed]) for run in runs if run.seed in before]
            if not pairs:
                continue
            found += [_compared(variant, reference, measure, pairs) for measure in pairs[0][0].resampled]
    return found


def _compared(
    variant: str, reference: str, measure: str, pairs: Sequence[tuple[ScoredRun, ScoredRun]]
) -> dict[str, Any]:
    once = np.array([run.once(measure) - before.once(measure) for run, before in pairs])
    drawn = np.stack([run.resampled[measure] - before.resampled[measure] for run, before in pairs], axis=1)
    bounds = interval(once, drawn, len(pairs[0][0].recordings), np.random.default_rng(_SEED))
    return {
        "variant": variant,
        "against": reference,
        "measure": measure,
        "seeds": [run.seed for run, _ in pairs],
        "each": once.tolist(),
        **asdict(bounds),
    }


def as_rows(rows: Mapping[str, Sequence[ScoredRun]]) -> dict[str, list[dict[str, Any]]]:
    """Return the scores of all runs as plain data."""
    return {
        variant: [
            {"seed": run.seed, "scores": run.scores, "others": run.others, "recovery": run.recovery} for run in runs
        ]
        for variant, runs in rows.items()
    }


def median_seconds(rows: Mapping[str, Sequence[ScoredRun]]) -> float:
    """Return the median training time of all runs."""
    return statistics.median(run.training_seconds for runs in rows.values() for run in runs)
