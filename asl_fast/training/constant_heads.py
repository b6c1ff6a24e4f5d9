# SPDX-License-Identifier: Apache-2.0
"""Notices a head that says the same at every point: such a run is lost, while its loss still looks like one.

It is looked for once an epoch, in one more pass over the longest video of the epoch's last batch: no training step does
more, or waits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from asl_fast.models.detector import ActionDetector

LEAST_SPREAD = {"start": 0.01, "end": 0.01, "classes": 0.01}
"""Standard deviation from which on an output depends on what is seen: of distances in strides, of class logits."""

LEAST_POINTS = 16
"""Fewer points say nothing."""

_MEANING = {
    "start": ("the regression head gives the same distance to the start at every point", "strides"),
    "end": ("the regression head gives the same distance to the end at every point", "strides"),
    "classes": ("the classification head gives every point the same class scores", "in logits"),
}


@torch.no_grad()
def head_spread(detector: ActionDetector, features: Tensor, mask: Tensor, *, autocast: bool) -> dict[str, float]:
    """Measure how much the outputs of the heads differ from point to point of the longest video of a batch.

    Args:
        detector: Left in the mode that it is in.
        features: (B, T, D).
        mask: (B, T) bool, True where valid.
        autocast: Run the detector in bfloat16.

    Returns:
        Standard deviations by the names of ``LEAST_SPREAD``, after "spread_": over all valid points, each level around
        a mean of its own; of the classes that one which varies most. Empty where the video has fewer than
        ``LEAST_POINTS`` points, or an output is not finite.
    """
    longest = mask.sum(1).argmax(0, keepdim=True)
    features, mask = features[longest], mask[longest]
    training = detector.training
    detector.eval()
    with torch.autocast(features.device.type, torch.bfloat16, enabled=autocast):
        output = detector.forward(features, mask)  # not the compiled one, which would be compiled once more for this
    detector.train(training)
    levels = [
        torch.cat((offsets[valid], logits[valid]), -1).float()
        for logits, offsets, valid in zip(output.logits, output.offsets, output.masks, strict=True)
        if valid.any()
    ]
    count = sum(map(len, levels))
    if count < LEAST_POINTS:
        return {}
    squares = torch.stack([(level - level.mean(0)).square().sum(0) for level in levels]).sum(0)
    start, end, *classes = (squares / count).sqrt().tolist()
    found = {"start": start, "end": end, "classes": max(classes)}
    return {f"spread_{name}": value for name, value in found.items()} if all(map(math.isfinite, found.values())) else {}


def constant_heads(spread: Mapping[str, float], epoch: int) -> list[str]:
    """Say which heads are constant after an epoch, and what to do; an empty list when all is well.

    Args:
        spread: What `head_spread` found.
        epoch: Number of the epoch, counted from 1.
    """
    return [
        f"warning: after epoch {epoch} {meaning} (standard deviation {spread['spread_' + name]:.2g} {unit}), so that "
        "this run is of no use. Train again with a lower --optimizer.lr, longer --warmup-epochs or another --seed, and "
        "with --model.offset-activation squareplus where it is relu"
        for name, (meaning, unit) in _MEANING.items()
        if spread.get("spread_" + name, math.inf) < LEAST_SPREAD[name]
    ]
