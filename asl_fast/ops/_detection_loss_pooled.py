# SPDX-License-Identifier: Apache-2.0
"""The detection loss of a batch that lies on several processes, each of which has some of its videos.

The op computes the loss of the videos at hand with N = 1. Its sums are added up over the processes, and losses and
factors follow from these as they do in one process. So the gradients differ from those of one process by rounding
alone, whatever share of the positives each process has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from asl_fast.backend import backend, forced_backend
from asl_fast.reference._detection_loss_totals import Factors, Sums, sums_behind
from asl_fast.reference.detection_loss import Operands, Outputs

LEARNED = ("logits", "offsets", "predicted_quality", "raw_mu", "raw_sigma")
KEPT = ("unit_logits", "unit_offsets", "unit_predicted_quality", "label", "of_points", "factors")
GIVEN = ("total", "cls", "loc", "sensitivity", "num_positives", "normalizer", "mu", "sigma", "segments_finest")
CONSTANT = ("num_positives", "normalizer", "segments_finest")


class Peers(Protocol):
    """The processes that have a share of the batch.

    Attributes:
        size: Number of processes.
    """

    size: int

    def total(self, values: Tensor) -> Tensor:
        """Return the sum of the processes' tensors, without a gradient."""


class Pieces(NamedTuple):
    """What the loss is computed by: the op, its derivative as `_library.differentiable` takes it, and the peers."""

    op: Callable[..., Any]
    gradients: Callable[[Operands, Outputs, Outputs, Operands], Mapping[str, Tensor | None]]
    peers: Peers


def pooled(pieces: Pieces, given: Operands) -> Outputs:
    """Compute the losses of the whole batch.

    Every process gets the same losses. A gradient is ``peers.size`` times the share that the videos at hand have in it,
    because data parallelism averages gradients over processes, and the average has to be their sum.

    Args:
        pieces: What it is computed by.
        given: The videos at hand; all processes have the same parameters and normaliser.

    Returns:
        What the op gives; what only its backward pass takes is empty.
    """
    learned = [getattr(given, name) for name in LEARNED]
    found = _PooledLoss.apply(pieces, given, *learned)  # type: ignore[no-untyped-call]
    nothing = given.logits.new_empty(0)
    return Outputs(**dict.fromkeys(KEPT, nothing), **dict(zip(GIVEN, found, strict=True)))


class _PooledLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pieces: Pieces, given: Operands, *learned: Tensor | None) -> tuple[Tensor, ...]:
        here = given._replace(normalizer=torch.ones_like(given.normalizer), momentum=1.0)
        found = Outputs(*pieces.op(*here))
        cls_by_mean, loc_by_mean = given.by_mean()
        sums = sums_behind(
            found.cls,
            found.loc,
            found.sensitivity,
            found.num_positives,
            Factors(*found.factors.unbind()),
            cls_by_mean=cls_by_mean,
            loc_by_mean=loc_by_mean,
        )
        # In float64, so that counts stay whole and the order of the processes does not show.
        everywhere = Sums(*pieces.peers.total(torch.stack(sums).double()).to(found.loc.dtype).unbind())
        totals = given.conclude(everywhere)
        size = pieces.peers.size
        factors = totals.factors._replace(
            positive_cls=totals.factors.positive_cls * size,
            background_cls=totals.factors.background_cls * size,
            positive_loc=totals.factors.positive_loc * size,
            per_positive=totals.factors.per_positive * size,
        )
        found = found._replace(
            total=totals.total,
            cls=totals.cls,
            loc=totals.loc,
            sensitivity=totals.sensitivity,
            num_positives=everywhere.positives.round().to(torch.int64),
            normalizer=totals.normalizer,
            factors=torch.stack(factors),
        )
        ctx.set_materialize_grads(False)
        ctx.pieces, ctx.backend = pieces, forced_backend()
        # Of the tensors the backward pass takes those alone that are saved below.
        ctx.numbers = {name: None if isinstance(value, Tensor) else value for name, value in given._asdict().items()}
        ctx.save_for_backward(given.raw_mu, given.raw_sigma, *[getattr(found, name) for name in KEPT])
        ctx.dtypes = [None if tensor is None else tensor.dtype for tensor in learned]
        constant = CONSTANT if given.need_gaussians else (*CONSTANT, "mu", "sigma")
        ctx.mark_non_differentiable(*[getattr(found, name) for name in constant])
        return tuple(getattr(found, name) for name in GIVEN)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        no_gradient = (None, None, *[None] * len(LEARNED))
        if all(grad is None for grad in grads):
            return no_gradient
        raw_mu, raw_sigma, *kept = ctx.saved_tensors
        given = Operands(**(ctx.numbers | {"raw_mu": raw_mu, "raw_sigma": raw_sigma}))
        unknown: dict[str, Any] = dict.fromkeys(Outputs._fields)
        found = Outputs(**(unknown | dict(zip(KEPT, kept, strict=True))))
        arrived = Outputs(**(unknown | dict(zip(GIVEN, grads, strict=True))))
        asked = dict(zip(LEARNED, ctx.needs_input_grad[2:], strict=True))
        needed = Operands(**(dict.fromkeys(Operands._fields, False) | asked))
        with backend(ctx.backend):
            by_name = ctx.pieces.gradients(given, found, arrived, needed)
        results = [
            by_name[name].to(dtype) if asked[name] and by_name.get(name) is not None else None
            for name, dtype in zip(LEARNED, ctx.dtypes, strict=True)
        ]
        return (None, None, *results)
