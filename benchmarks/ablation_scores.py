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

from asl_fast.evaluation.activitynet_json import read_detections, read_ground_truth
from asl_fast.files import read_json, read_text
from asl_fast.training.run_folder import RunFolder
from benchmarks.recovery import recovery
from benchmarks.resampling import draw_recordings, interval, match_run, resampled_map

MAIN, STRICT = "mAP", "strict mAP"
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
        others: What its evaluation holds beside mean average precision, by name.
        resampled: Per measure (B,) average mAP of drawn recordings.
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
    scores, resampled = {}, {}
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
    return ScoredRun(
        seed=seed,
        folder=folder,
        recordings=recordings,
        truth=_truth(truth.columns),
        scores=scores,
        others=_others(evaluation["measures"]),
        resampled=resampled,
        recovery=recovery(folder.path) if read_json(folder.dataset)["synthetic"] else None,
        training_seconds=_training_seconds(folder),
    )


def _truth(columns: Mapping[str, NDArray[Any]]) -> tuple[Any, ...]:
    rows = zip(columns["video"].tolist(), columns["labels"].tolist(), columns["segments"].tolist(), strict=True)
    return tuple(sorted((video, label, *segment) for video, label, segment in rows))


def _others(measures: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """List single numbers of measures that are no mean average precision, by measure and name."""
    return {
        f"{name} {key}": float(value)
        for name, measure in measures.items()
        if "average_map" not in measure
        for key, value in measure.items()
        if isinstance(value, float)
    }


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
            for measure in pairs[0][0].scores:
                once = np.array([a.scores[measure]["average_map"] - b.scores[measure]["average_map"] for a, b in pairs])
                drawn = np.stack([a.resampled[measure] - b.resampled[measure] for a, b in pairs], axis=1)
                found.append(_compared(variant, reference, measure, pairs, once, drawn, len(pairs[0][0].recordings)))
            for other in pairs[0][0].others:
                once = np.array([a.others[other] - b.others[other] for a, b in pairs])
                found.append(_compared(variant, reference, other, pairs, once, once[None].repeat(1000, axis=0), 1))
    return found


def _compared(
    variant: str,
    reference: str,
    measure: str,
    pairs: Sequence[tuple[ScoredRun, ScoredRun]],
    once: NDArray[np.float64],
    drawn: NDArray[np.float64],
    recordings: int,
) -> dict[str, Any]:
    bounds = interval(once, drawn, recordings, np.random.default_rng(_SEED))
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
