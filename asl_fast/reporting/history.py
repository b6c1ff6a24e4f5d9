# SPDX-License-Identifier: Apache-2.0
"""What a run measured as it went, thinned to what a chart can show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

POINTS = 240
_NO_MEASURE = ("kind", "epoch", "step")


def history(records: Sequence[Mapping[str, Any]], total_epochs: int) -> dict[str, Any] | None:
    """Thin the records of a run.

    Args:
        records: As `asl_fast.training.metrics_log.read_metrics` gives them.
        total_epochs: Epochs that the run was to have.

    Returns:
        None without a finished epoch. Otherwise, ready for JSON: ``epochs`` finished, ``total_epochs``; ``steps``:
        ``at`` (P,) in epochs, and by name (P,) means over the steps around it, null where none has that name;
        ``seconds`` (E,) of each epoch; ``evaluations``: ``at`` (V,) in epochs, and by name (V,) numbers in [0, 1].
    """
    by_kind: dict[str, list[Mapping[str, Any]]] = {"step": [], "epoch": [], "evaluation": []}
    for record in records:
        if record.get("kind") in by_kind and isinstance(record.get("step"), int):
            by_kind[record["kind"]].append(record)
    if not by_kind["epoch"]:
        return None
    ends = np.array([0, *(record["step"] + 1 for record in by_kind["epoch"])], dtype=np.float64)
    epochs = np.array([0, *(record["epoch"] + 1 for record in by_kind["epoch"])], dtype=np.float64)
    steps = sorted(by_kind["step"] or by_kind["epoch"], key=lambda record: record["step"])
    place = np.interp([record["step"] + 1 for record in steps], ends, epochs)
    bins = np.arange(len(steps)) * min(POINTS, len(steps)) // len(steps)
    thinned: dict[str, list[float | None]] = {"at": _means(place, bins)}
    for name in _names(steps):
        thinned[name] = _means(np.array([_number(record.get(name)) for record in steps]), bins)
    evaluations = by_kind["evaluation"]
    scored: dict[str, list[float | None]] = {"at": [float(record["epoch"] + 1) for record in evaluations]}
    for name in _names(evaluations):
        scored[name] = [_rounded(_number(record.get(name))) for record in evaluations]
    return {
        "epochs": int(epochs[-1]),
        "total_epochs": total_epochs,
        "steps": thinned,
        "seconds": [_rounded(_number(record.get("seconds"))) for record in by_kind["epoch"]],
        "evaluations": scored,
    }


def _names(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the numbers that occur, in the order in which they first do."""
    found = dict.fromkeys(
        name for record in records for name, value in record.items() if not math.isnan(_number(value))
    )
    return [name for name in found if name not in _NO_MEASURE and name != "seconds"]


def _number(value: Any) -> float:
    """Return a number, NaN for anything else."""
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else math.nan


def _means(values: np.ndarray[Any, Any], bins: np.ndarray[Any, Any]) -> list[float | None]:
    there = ~np.isnan(values)
    count = np.bincount(bins[there], minlength=int(bins[-1]) + 1)
    total = np.bincount(bins[there], weights=values[there], minlength=int(bins[-1]) + 1)
    means = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
    return [_rounded(value) for value in means.tolist()]


def _rounded(value: float) -> float | None:
    """Return as many digits as a chart shows."""
    return None if math.isnan(value) else float(f"{value:.5g}")
