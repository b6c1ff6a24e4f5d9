# SPDX-License-Identifier: Apache-2.0
"""Operands of the contrastive loss: one realistic call, and those that are compiled ahead of time."""

from __future__ import annotations

import torch
from torch import Tensor

from asl_fast.reference.contrastive_similarity import BackwardOperands, Operands, Outputs
from tests.kernels.examples._scene import CLASSES, INSTANCES, POINTS, VIDEOS, Call, Size, segments


def contrastive(generator: torch.Generator) -> Operands:
    """Two videos of 64 channels, added to another loss."""
    return Operands(
        features=torch.randn(VIDEOS, POINTS, 64, generator=generator).requires_grad_(),
        mask=torch.arange(POINTS) < torch.tensor([[POINTS], [POINTS - 20]]),
        labels=torch.randint(0, 3, (INSTANCES,), generator=generator),
        mu=(torch.tensor([0.0, -0.5, 0.5]) + 0.2 * torch.randn(CLASSES, 3, generator=generator)).requires_grad_(),
        sigma=(0.3 + torch.rand(CLASSES, 3, generator=generator)).requires_grad_(),
        segments=segments(generator, INSTANCES),
        video_offsets=torch.tensor([0, INSTANCES - 4, INSTANCES]),
        base=torch.tensor(1.25).requires_grad_(),
        delta=0.2,
        temperature=0.07,
        weight=0.3,
        keep_similarities=False,
    )


def contrastive_backward(generator: torch.Generator) -> BackwardOperands:
    """Of the same."""
    given = contrastive(generator)
    given = given._make(x.detach() if isinstance(x, Tensor) else x for x in given)
    found = Outputs(*torch.ops.asl_fast.contrastive_similarity_loss.default(*given))
    return given.backward(found, grad_total=torch.tensor(0.5), grad_loss=torch.tensor(-0.2))


EXAMPLES = {
    "contrastive_similarity_loss": contrastive,
    "contrastive_similarity_loss_backward": contrastive_backward,
}


def calls(size: Size) -> list[Call]:
    """Forward and backward; of the backward pass also the gradient of the features alone."""
    gaussians = torch.ones(size.classes, 3)
    given = Operands(
        features=torch.zeros(size.videos, size.rows, size.channels, dtype=size.dtype),
        mask=torch.ones(size.videos, size.rows, dtype=torch.bool),
        segments=torch.ones(size.instances, 2),
        labels=torch.zeros(size.instances, dtype=torch.int64),
        video_offsets=size.video_offsets,
        mu=gaussians,
        sigma=gaussians,
        base=None,
        delta=0.2,
        temperature=0.07,
        weight=0.3,
        keep_similarities=False,
    )
    found = given.outputs()
    given = given._replace(base=torch.ones_like(found.total))
    both = given.backward(found, grad_total=found.total, grad_loss=found.loss)
    features = given._replace(weight=1.0).backward(found, grad_total=None, grad_loss=found.loss, need_gaussians=False)
    kept = given._replace(keep_similarities=True)
    kept_both = kept.backward(kept.outputs(), grad_total=found.total, grad_loss=found.loss)
    op = "contrastive_similarity_loss"
    return [
        Call(f"contrastive-kept-{size.name}", op, kept),
        Call(f"contrastive-kept-backward-{size.name}", f"{op}_backward", kept_both),
        Call(f"contrastive-{size.name}", op, given),
        Call(f"contrastive-backward-{size.name}", f"{op}_backward", both),
        Call(f"contrastive-features-backward-{size.name}", f"{op}_backward", features),
    ]
