# SPDX-License-Identifier: Apache-2.0
"""A foreign detector beside itself with our loss and our soft-NMS: what differs, and how long each takes.

    python -m examples.comparison FILE ...

prints the table of what ``--json FILE`` of the two examples wrote.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from asl_fast.files import read_json, write_json

ALL_OFF = {"class_level": False, "instance_level": False, "contrastive": False}
Losses = dict[str, Tensor]


@dataclass(frozen=True)
class Original:
    """A detector of another project, or its stand-in.

    Attributes:
        name: For the table.
        make_model: Makes a detector, of the same weights every time.
        make_optimizer: As its training code does.
        batches: Gives so many batches of made-up data.
        loss: The losses of a model in training for a batch.
        total: Which of them is minimised.
        detect: What a model in evaluation finds in a batch.
        batched_nms: Its NMS, for candidates with the options that it is called with.
    """

    name: str
    make_model: Callable[[], nn.Module]
    make_optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    batches: Callable[[int], Iterable[Any]]
    loss: Callable[[nn.Module, Any], Losses]
    total: str
    detect: Callable[[nn.Module, Any], Any]
    batched_nms: Callable[..., Any]


def losses_and_gradients(
    original: Original, use_asl: Callable[..., Any], *, steps: int = 3
) -> tuple[float, float, list[float]]:
    """Compare the losses of a model with those of its copy that has ASL with every part of it off.

    Returns:
        The greatest difference of a loss and of a gradient, each relative to the largest of its kind, and the totals.
    """
    theirs = original.make_model().train()
    ours = copy.deepcopy(theirs)
    use_asl(ours, **ALL_OFF)
    of_loss, of_gradient, totals = 0.0, 0.0, []
    for batch in original.batches(steps):
        found, expected = original.loss(ours, batch), original.loss(theirs, batch)
        for name, value in expected.items():
            of_loss = max(of_loss, float((found[name] - value).detach().abs() / value.detach().abs().clamp(min=1e-12)))
        totals.append(float(found[original.total].detach()))
        for model, losses in ((ours, found), (theirs, expected)):
            model.zero_grad(set_to_none=True)
            torch.autograd.backward(losses[original.total])
        pairs = [
            (mine.grad, other.grad)
            for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True)
            if mine.grad is not None and other.grad is not None
        ]
        largest = max(float(other.abs().max()) for _, other in pairs)
        of_gradient = max(of_gradient, max(float((a - b).abs().max()) for a, b in pairs) / largest)
    return of_loss, of_gradient, totals


def nms_ratio(
    theirs: Callable[..., Any], ours: Callable[..., Any], *, candidates: int, classes: int
) -> tuple[int, int, float, float]:
    """Compare two functions on candidates of one video.

    Returns:
        Detections, how many of them differ, and the milliseconds that theirs and ours take at best.
    """
    generator = torch.Generator().manual_seed(0)
    middle = torch.rand(candidates, generator=generator) * 2000
    length = 5 * torch.exp(torch.randn(candidates, generator=generator))
    segments = torch.stack((middle - length / 2, middle + length / 2), -1)
    scores = torch.linspace(0.9, 0.002, candidates)[torch.randperm(candidates, generator=generator)]
    labels = torch.randint(classes, (candidates,), generator=generator)
    best = [float("inf"), float("inf")]
    results: list[Any] = [None, None]
    for _ in range(5):
        for side, function in enumerate((theirs, ours)):
            began = time.perf_counter()
            results[side] = function(segments.clone(), scores.clone(), labels.clone())
            best[side] = min(best[side], time.perf_counter() - began)
    (segments, scores, labels), (own_segments, own_scores, own_labels) = results
    if len(scores) != len(own_scores):
        return len(scores), abs(len(scores) - len(own_scores)), 1e3 * best[0], 1e3 * best[1]
    same = torch.isclose(segments, own_segments, rtol=1e-5, atol=1e-5).all(-1) & (labels == own_labels)
    same &= torch.isclose(scores, own_scores, rtol=1e-5, atol=1e-7)
    return len(scores), int((~same).sum()), 1e3 * best[0], 1e3 * best[1]


def compare(
    original: Original,
    use_asl: Callable[..., Any],
    batched_nms: Callable[..., Any],
    *,
    candidates: int,
    classes: int,
    **options: Any,
) -> dict[str, Any]:
    """Return a row of the table; ``options`` are those of the NMS."""
    of_loss, of_gradient, totals = losses_and_gradients(original, use_asl)
    number, different, theirs, ours = nms_ratio(
        lambda *video: original.batched_nms(*video, **options),
        lambda *video: batched_nms(*video, **options),
        candidates=candidates,
        classes=classes,
    )
    return {
        "detector": original.name,
        "losses": totals,
        "loss_difference": of_loss,
        "gradient_difference": of_gradient,
        "detections": number,
        "detections_that_differ": different,
        "nms_theirs_ms": theirs,
        "nms_ours_ms": ours,
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as text."""
    head = ("detector", "losses", "loss differs by", "gradient by", "detections", "of them differ", "NMS ms", "ratio")
    lines = [head] + [
        (
            row["detector"],
            " ".join(f"{loss:.4f}" for loss in row["losses"]),
            f"{row['loss_difference']:.1e}",
            f"{row['gradient_difference']:.1e}",
            str(row["detections"]),
            str(row["detections_that_differ"]),
            # A stand-in's is slow Python.
            *(("-", "-") if row["detector"].startswith("stand-in") else _times(row)),
        )
        for row in rows
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def _times(row: dict[str, Any]) -> tuple[str, str]:
    theirs, ours = row["nms_theirs_ms"], row["nms_ours_ms"]
    return f"{theirs:.2f} > {ours:.2f}", f"{theirs / ours:.1f}"


def report(row: dict[str, Any], arguments: Sequence[str] | None) -> None:
    """Print a row, and write it where ``--json FILE`` says."""
    options = argparse.ArgumentParser()
    options.add_argument("--json", type=Path)
    print("every part of ASL off, beside the original:")
    print(table([row]))
    path = options.parse_args(arguments).json
    if path is not None:
        write_json(path, row, indent=2)


if __name__ == "__main__":
    print(table([read_json(Path(name)) for name in sys.argv[1:]]))
