# SPDX-License-Identifier: Apache-2.0
"""Operands of soft-NMS: one realistic call, and those that are compiled ahead of time."""

from __future__ import annotations

import torch

from asl_fast.reference.soft_nms import METHODS, Operands
from tests.kernels.examples._scene import Call, Size, segments

OPTIONS = {
    "sigma": 0.5,
    "iou_threshold": 0.1,
    "min_score": 1e-3,
    "max_segments": 20,
    "voting_threshold": 0.7,
    "keep_best": True,
}


def nms(generator: torch.Generator) -> Operands:
    """Three classes of two videos, voting."""
    count = 90
    boundaries, scores = segments(generator, count), torch.rand(count, generator=generator)
    labels, video = (torch.randint(0, high, (count,), generator=generator) for high in (3, 2))
    return Operands(
        segments=boundaries,
        scores=scores,
        labels=labels,
        video_index=video.sort().values,
        method="gaussian",
        num_videos=2,
        **OPTIONS,
    )


EXAMPLES = {"soft_nms": nms}


def calls(size: Size) -> list[Call]:
    """Every method, with and without labels, one video and many; always float32."""
    if size.dtype != torch.float32:
        return []
    ids = torch.zeros(size.rows, dtype=torch.int64)
    found = []
    for number, (labels, videos) in enumerate(((None, ids), (ids, None), (ids, ids))):
        given = Operands(
            segments=torch.ones(size.rows, 2),
            scores=torch.ones(size.rows),
            labels=labels,
            video_index=videos,
            method=METHODS[number],
            **OPTIONS,
        )
        found.append(
            Call(f"soft-nms-{number}-{size.name}", "soft_nms", given._replace(max_segments=200, keep_best=number != 1))
        )
    return found
