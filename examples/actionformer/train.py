# SPDX-License-Identifier: Apache-2.0
"""ASL in ActionFormer: `train` is what its user writes, two lines of it new; the rest compares with the original.

    python -m examples.actionformer.train

With ``ACTIONFORMER_DIR`` it runs that checkout of https://github.com/happyharrycn/actionformer_release, else a small
stand-in with the same interface.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch

from asl_fast.integrations import actionformer
from examples.actionformer.original import CLASSES, original
from examples.comparison import Original, compare, report


def train(source: Original, steps: int) -> tuple[list[dict[str, float]], Any]:
    """Train with ASL for some steps; return the losses, and what is then found in a recording."""
    model = source.make_model()
    actionformer.use_asl(model)
    optimizer = source.make_optimizer(model)
    model.train()
    log = []
    for video_list in source.batches(steps):
        optimizer.zero_grad(set_to_none=True)
        losses = model(video_list)
        losses["final_loss"].backward()
        optimizer.step()
        log.append({name: loss.item() for name, loss in losses.items()})
    put_back = actionformer.use_soft_nms(model)
    model.eval()
    with torch.no_grad():
        found = model(video_list[:1])
    put_back()
    return log, found


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, compare, print."""
    torch.set_num_threads(1)
    source = original()
    log, found = train(source, 5)
    print(f"{source.name} with ASL: " + "; ".join(f"{k} {v:.3f} > {log[-1][k]:.3f}" for k, v in log[0].items()))
    print(f"  {len(found[0]['scores'])} detections in {found[0]['video_id']}")
    options = {
        "iou_threshold": 0.1, "min_score": 0.001, "max_seg_num": 200,
        "use_soft_nms": True, "multiclass": True, "sigma": 0.5, "voting_thresh": 0.7,
    }  # fmt: skip
    real = source.name == "ActionFormer"
    row = compare(
        source,
        actionformer.use_asl,
        actionformer.batched_nms,
        candidates=6000 if real else 300,
        classes=CLASSES,
        **options,
    )
    report(row, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
