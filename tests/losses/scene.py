# SPDX-License-Identifier: Apache-2.0
"""A small batch of two videos on three levels, and a loss whose Gaussians are not at their initial values."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from asl_fast.losses import ASLLoss
from asl_fast.ops.ragged import RaggedTargets

CLASSES, DIM = 4, 16
PLAIN: dict[str, Any] = {"class_level": False, "instance_level": False, "contrastive": False}
KEYS = {"total", "cls", "loc", "sensitivity", "fit", "contrastive", "num_positives"}
VIDEOS = [
    ([[3.2, 9.1], [20.3, 41.0], [50.4, 50.8]], [0, 2, 3]),
    ([[5.3, 17.0], [5.3, 17.0], [30.1, 33.7]], [1, 3, 2]),  # two classes tied on the same points
]


class Batch(NamedTuple):
    logits: list[Tensor]
    offsets: list[Tensor]
    features: list[Tensor]
    masks: list[Tensor]
    points: list[Tensor]
    targets: RaggedTargets


def batch(
    seed: int = 0,
    *,
    dtype: torch.dtype = torch.float32,
    lengths: tuple[int, ...] = (64, 45),
    size: int = 64,
    videos: list[Any] | None = None,
    grad: bool = False,
) -> Batch:
    """Two videos on three levels; the same leading values whatever the padded size."""
    videos = VIDEOS if videos is None else videos
    masks, points = [], []
    made: dict[int, list[Tensor]] = {2: [], CLASSES: [], DIM: []}
    for level, (low, high) in enumerate([(0.0, 4.0), (4.0, 8.0), (8.0, 1e4)]):
        stride = 2**level
        time = torch.arange(size // stride) * float(stride)
        points.append(torch.stack([time, *(torch.full_like(time, x) for x in (low, high, stride))], -1))
        masks.append(torch.arange(size // stride) < torch.tensor([n // stride for n in lengths])[:, None])
        for channels, tensors in made.items():
            generator = torch.Generator().manual_seed(100 * seed + 10 * level + channels)
            drawn = torch.randn(128 // stride, 2, channels, generator=generator, dtype=torch.float64)
            tensors.append(drawn[: size // stride].transpose(0, 1).contiguous().to(dtype))
    made[2] = [tensor.abs() for tensor in made[2]]
    pairs = [(torch.tensor(s).reshape(-1, 2), torch.tensor(c, dtype=torch.int64)) for s, c in videos]
    targets = RaggedTargets.from_list(pairs)
    for tensor in (*made[2], *made[CLASSES], *made[DIM]):
        tensor.requires_grad_(grad)
    return Batch(made[CLASSES], made[2], made[DIM], masks, points, targets)


def asl_loss(**options: Any) -> ASLLoss:
    torch.manual_seed(0)
    loss = ASLLoss(CLASSES, DIM, **options)
    if loss.gaussians is not None and loss.config.class_level:
        with torch.no_grad():
            loss.gaussians.mu_bias.normal_(std=0.2)
            loss.gaussians.sigma_bias.normal_(std=0.5)
    return loss
