# SPDX-License-Identifier: Apache-2.0
"""ASL in OpenTAD: `train` is what its user writes, two lines of it new; the rest compares with the original.

    python -m examples.opentad.train

With ``OPENTAD_DIR`` it runs that checkout of https://github.com/sming256/OpenTAD, else a small stand-in with the same
interface.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch

from asl_fast.integrations import opentad
from examples.comparison import Original, compare, report
from examples.opentad.original import CLASSES, original


def train(source: Original, steps: int) -> tuple[list[dict[str, float]], Any]:
    """Train with ASL for some steps; return the losses, and what is then found in the last batch."""
    model = source.make_model()
    opentad.use_asl(model)
    optimizer = source.make_optimizer(model)
    model.train()
    log = []
    for batch in source.batches(steps):
        optimizer.zero_grad(set_to_none=True)
        losses = model(**batch)
        losses["cost"].backward()
        optimizer.step()
        log.append({name: loss.item() for name, loss in losses.items()})
    put_back = opentad.use_soft_nms(model)
    found = source.detect(model.eval(), batch)
    put_back()
    return log, found


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, compare, print."""
    torch.set_num_threads(1)
    source = original()
    log, found = train(source, 5)
    print(f"{source.name} with ASL: " + "; ".join(f"{k} {v:.3f} > {log[-1][k]:.3f}" for k, v in log[0].items()))
    name, detections = next(iter(found.items()))
    print(f"  {len(detections)} detections in {name}")
    options = {"min_score": 0.001, "max_seg_num": 200, "use_soft_nms": True, "multiclass": True, "sigma": 0.5}
    real = source.name == "OpenTAD"
    row = compare(
        source, opentad.use_asl, opentad.batched_nms, candidates=6000 if real else 300, classes=CLASSES, **options
    )
    report(row, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
