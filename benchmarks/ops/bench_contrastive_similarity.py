# SPDX-License-Identifier: Apache-2.0
"""Contrastive loss forward and backward, against whole matrices in PyTorch and against the reference in blocks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from asl_fast import RaggedTargets, backend, contrastive_similarity_loss
from asl_fast.reference import contrastive_similarity as formula
from benchmarks.registry import Case, Scale, close
from benchmarks.shapes import shapes

Inputs = tuple[Tensor, Tensor, RaggedTargets, Tensor, Tensor]
Result = tuple[Tensor, Tensor, Tensor, Tensor]


def eager(features: Tensor, mask: Tensor, targets: RaggedTargets, mu: Tensor, sigma: Tensor) -> Result:
    """Hold all weights and all similarities as matrices, and differentiate automatically."""
    given = formula.Operands(
        features=features,
        mask=mask,
        segments=targets.segments,
        labels=targets.labels,
        video_offsets=targets.video_offsets,
        mu=mu,
        sigma=sigma,
        base=None,
        delta=0.2,
        temperature=0.07,
        weight=1.0,
        keep_similarities=False,
    )
    return _backward(formula.plain_loss(given), features, mu, sigma)


def fused(features: Tensor, mask: Tensor, targets: RaggedTargets, mu: Tensor, sigma: Tensor) -> Result:
    """Run the op, whichever implementation is in force."""
    return _backward(contrastive_similarity_loss(features, mask, targets, mu, sigma), features, mu, sigma)


def reference(*inputs: object) -> Result:
    """Run the op's plain PyTorch implementation."""
    with backend("reference"):
        return fused(*inputs)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Batch:
    """Sizes of one call; ``targets`` None draws ``instances`` per video of 3 to 28 grid steps."""

    name: str
    videos: int
    frames: int
    channels: int
    instances: int
    classes: int
    scale: Scale
    targets: RaggedTargets | None = None


def cases(device: str) -> list[Case]:
    """Declare a batch of each benchmark, and up to 16,384 instances, whose matrix of similarities has 9.7 GB."""
    batches = [Batch("small", 2, 64, 32, 6, 3, "small")]
    for each in shapes():
        length, width = each.config.data.max_length, each.config.model.width
        targets = each.targets("cpu")
        batches.append(Batch(each.name, each.batch, length, width, each.instances, each.classes, "real", targets))
    batches.append(Batch("large", 2, 2304, 512, 512, 100, "large"))
    batches.append(Batch("largest", 64, 2304, 512, 256, 100, "large"))
    return [_case(device, batch) for batch in batches]


def _case(device: str, batch: Batch) -> Case:
    count = batch.videos * batch.instances

    def make_inputs() -> Inputs:
        generator = torch.Generator().manual_seed(0)
        features = torch.randn(batch.videos, batch.frames, batch.channels, generator=generator)
        mu = torch.tensor([0.0, -0.5, 0.5]) + 0.1 * torch.randn(batch.classes, 3, generator=generator)
        sigma = 0.3 + torch.rand(batch.classes, 3, generator=generator)
        targets = batch.targets
        if targets is None:
            start = torch.rand(count, generator=generator) * (batch.frames - 30)
            segments = torch.stack((start, start + 3 + 25 * torch.rand(count, generator=generator)), -1)
            labels = torch.randint(batch.classes, (count,), generator=generator)
            targets = RaggedTargets(segments, labels, torch.arange(batch.videos + 1) * batch.instances)
        features, mu, sigma = (x.to(device).requires_grad_() for x in (features, mu, sigma))
        mask = torch.ones(batch.videos, batch.frames, dtype=torch.bool, device=device)
        return features, mask, RaggedTargets(*(x.to(device) for x in targets)), mu, sigma

    vectors, elements = 3 * count, batch.videos * batch.frames * batch.channels
    others = {"eager": eager, "reference": reference}
    if count >= 4096:  # eager would hold several matrices of similarities, and the reference take a CPU half an hour
        others = {"reference": reference} if device == "cuda" else {}
    return Case(
        f"{batch.name}: {count:,} instances, {batch.channels} channels",
        make_inputs,
        fused,
        others,
        # Forward and backward read the features, backward writes their gradient.
        12 * elements,
        # Similarities of the anchors, and of all with all once more with the sums over keys.
        flops=2 * batch.channels * vectors * (2 * count + 2 * vectors),
        scale=batch.scale,
        compiled="eager" if "eager" in others else None,
        agree=close(1e-3, 1e-4),
    )


def _backward(loss: Tensor, features: Tensor, mu: Tensor, sigma: Tensor) -> Result:
    grads = torch.autograd.grad(loss, (features, mu, sigma))
    return loss.detach(), grads[0], grads[1], grads[2]
