# SPDX-License-Identifier: Apache-2.0
"""How many rounds loops take whose length only floats or the data of another kernel know: what no count can find.

Stated by op, part of a case's name, and kernel, of the outermost such loop; or computed from the ground truth of the
case, for each block of the contrastive loss. Everything else is counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from asl_fast import RaggedTargets

# How often PyTorch's operators go over their data: a radix sort of 32-bit keys reads and writes everything in 4 passes,
# of 64-bit keys in 8, and looks at the keys once before.
PASSES: Mapping[str, int] = {"sort": 6}

STATED: Mapping[tuple[str, str], Mapping[str, int]] = {
    # A round selects one detection, and 200 of a video are kept.
    ("soft_nms", ""): {"nms_select": 200, "soft_nms_select_kernel": 200},
}


def rounds_of(op: str, case: str) -> Mapping[str, int]:
    """Return what is stated for a case, by the kernel's name."""
    found: dict[str, int] = {}
    for (which, part), rounds in STATED.items():
        if which == op and part in case:
            found |= rounds
    return found


# Of an instance's length: how far to both sides the frames of its background reach, as all configurations have it.
DELTA = 0.2
# So many instances that look at a block of frames are taken in a round.
LOOKS_AT_ONCE = 16


def rounds_of_blocks(kernel: str, named: Mapping[str, Any], truth: RaggedTargets | None) -> list[int] | None:
    """Return the rounds of each block of the contrastive loss's kernels over frames; None for any other kernel.

    An instance is pooled from all frames from before its start to behind its end, some at a time, and its Gaussians
    receive from those between; a block of frames receives from all instances that look at any of it.

    Args:
        kernel: Its name.
        named: The launch's arguments by name.
        truth: The ground truth, whose grid steps are frames.
    """
    if truth is None or kernel not in ("pool_kernel", "input_gradient_kernel"):
        return None
    frames, batch = named["frames"], named["batch"]
    count = int(truth.video_offsets[batch])
    start, end = truth.segments[:count].double().unbind(1)
    reach = DELTA * (end - start)
    first, last = ((start - reach).ceil().clamp(min=0), (end + reach).floor().clamp(max=frames - 1))
    whole = _rounds(first, last, named["BLOCK_T"])
    if kernel == "pool_kernel":
        return [*whole, *([0] * (named["room"] - count))]
    within = _rounds(start.ceil().clamp(min=0), end.floor().clamp(max=frames - 1), named["BLOCK_T"])
    instances = named["instances"]
    found = [*within, *([0] * (instances - count))] if instances else []
    if named["grad_features_ptr"] is None:
        return found
    slices = -(-named["channels"] // named["SLICE"])
    video = torch.bucketize(torch.arange(count), truth.video_offsets[1 : batch + 1], right=True)
    for each in range(batch):
        for frame in range(0, frames, named["FRAMES"]):
            looks = (video == each) & (first < frame + named["FRAMES"]) & (last >= frame)
            found += [-(-int(looks.sum()) // LOOKS_AT_ONCE)] * slices
    return found


def _rounds(first: Tensor, last: Tensor, block: int) -> list[int]:
    return [int(size) for size in ((last - first + block) / block).floor().clamp(min=0)]


def passes(name: str) -> int:
    """Return how often an operator of PyTorch goes over its data; 1 unless stated."""
    return PASSES.get(name, 1)
