# SPDX-License-Identifier: Apache-2.0
"""What a training run shows and writes down as it goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from tqdm import tqdm

from asl_fast.evaluation.protocols import ProtocolResult
from asl_fast.training.inference import summary

T = TypeVar("T")


def progress_bar(items: Iterator[T], *, total: int, name: str, shown: bool) -> tqdm[T]:
    """A bar that vanishes when it is full; none where the output is no terminal."""
    return tqdm(items, total=total, desc=name, leave=False, disable=None if shown else True)


def epoch_record(steps: Sequence[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Means over the records of an epoch's steps."""
    names = [name for name, value in steps[0].items() if isinstance(value, float)]
    means = {name: sum(step[name] for step in steps) / len(steps) for name in names}
    return {"kind": "epoch", "epoch": steps[-1]["epoch"], "step": steps[-1]["step"], **means, "seconds": seconds}


def evaluation_record(epoch: dict[str, Any], scores: ProtocolResult) -> dict[str, Any]:
    """Scores after an epoch, in the place of its record."""
    return {"kind": "evaluation", "epoch": epoch["epoch"], "step": epoch["step"], **summary(scores)}


def epoch_line(epoch: dict[str, Any], total_epochs: int, scores: ProtocolResult | None) -> str:
    """One line for the terminal."""
    parts = [f"epoch {epoch['epoch'] + 1:3d}/{total_epochs}", f"{epoch['seconds']:6.1f} s"]
    parts += [f"{name} {epoch[name]:.4f}" for name in ("total", "cls", "loc")]
    if scores is not None:
        parts += [f"{name} {value:.4f}" for name, value in summary(scores).items() if "@" not in name]
    return "  ".join(parts)
