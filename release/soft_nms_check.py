# SPDX-License-Identifier: Apache-2.0
"""Runs in an environment that has a wheel installed: the compiled soft-NMS against a few lines of plain Python.

Of other packages it needs none, so that it also runs on an emulated processor; where torch is, the public function is
compared with the reference too.
"""

from __future__ import annotations

import importlib.util
import math
import random
import sys
from array import array
from pathlib import Path

from asl_fast import _native

SIGMA, MIN_SCORE, MARGIN = 0.5, 1e-3, 1e-6


def iou(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Intersection over union of two segments, as ActionFormer computes it."""
    overlap = max(0.0, min(one[1], other[1]) - max(one[0], other[0]))
    return overlap / (one[1] - one[0] + other[1] - other[0] + 2 * MARGIN - overlap)


def sequential(segments: list[tuple[float, float]], scores: list[float], labels: list[int]) -> list[tuple[int, float]]:
    """Select the best, decay what overlaps with it and has its class, repeat; return rows and scores, best first."""
    kept, alive = [], dict(enumerate(scores))
    while alive:
        best = max(alive, key=lambda row: (alive[row], -row))
        score = alive.pop(best)
        if score < MIN_SCORE:
            break
        kept.append((best, score))
        for row in alive:
            if labels[row] == labels[best]:
                alive[row] *= math.exp(-(iou(segments[row], segments[best]) ** 2) / SIGMA)
    return kept


def compiled(segments: list[tuple[float, float]], scores: list[float], labels: list[int]) -> list[tuple[int, float]]:
    """Call the compiled operator on plain memory."""
    count = len(scores)
    given = array("f", [time for segment in segments for time in segment]), array("f", scores), array("q", labels)
    indices, moved, decayed = array("q", [0]) * count, array("f", [0]) * 2 * count, array("f", [0]) * count
    kept = _native.soft_nms(
        **dict(zip(("segments", "scores", "labels"), (held.buffer_info()[0] for held in given), strict=True)),
        video_index=0,
        count=count,
        options=_native.NmsOptions(
            method=2,
            sigma=SIGMA,
            iou_threshold=0.1,
            min_score=MIN_SCORE,
            max_segments=0,
            voting_threshold=0.0,
            keep_best=False,
            num_videos=0,
        ),
        out_indices=indices.buffer_info()[0],
        out_segments=moved.buffer_info()[0],
        out_scores=decayed.buffer_info()[0],
        rows=count,
        threads=1,
    )
    return list(zip(indices[:kept], decayed[:kept], strict=True))


def same(found: list[tuple[int, float]], right: list[tuple[int, float]]) -> bool:
    """Tell whether the same rows are kept with equal scores; near the threshold rounding decides."""
    sure = {row: score for row, score in right if score > 1.01 * MIN_SCORE}
    got = dict(found)
    return len(sure) > 100 and all(abs(got.get(row, 0.0) - score) < 2e-6 for row, score in sure.items())


def main() -> None:
    """Compare, and print what ran."""
    draw = random.Random(0)
    starts = [draw.uniform(0, 100) for _ in range(600)]
    rounded = array("f", [time for start in starts for time in (start, start + draw.uniform(0.5, 12))])
    segments = list(zip(rounded[::2], rounded[1::2], strict=True))
    scores = list(array("f", [draw.random() for _ in starts]))
    labels = [draw.randrange(5) for _ in starts]
    found = compiled(segments, scores, labels)
    assert same(found, sequential(segments, scores, labels)), "the compiled soft-NMS gives other scores"
    said = f"soft_nms of {Path(_native.__file__).name} right"
    if importlib.util.find_spec("torch"):
        import torch

        import asl_fast

        given = torch.tensor(segments), torch.tensor(scores), torch.tensor(labels)
        results = {}
        for name in ("cpu", "reference"):
            with asl_fast.backend(name):
                results[name] = asl_fast.soft_nms(*given, sigma=SIGMA, min_score=MIN_SCORE)
        torch.testing.assert_close(results["cpu"].scores, results["reference"].scores, rtol=1e-5, atol=1e-7)
        assert torch.equal(results["cpu"].segments, results["reference"].segments)
        said += f", with torch {torch.__version__} too"
    print(f"{said}, Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
