# SPDX-License-Identifier: Apache-2.0
"""Action Sensitive Contrastive Loss: instances of a class should look alike at their sensitive moments."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from asl_fast.ops import _checks, _dispatch
from asl_fast.ops import _legacy as _library
from asl_fast.ops.ragged import RaggedTargets
from asl_fast.reference import contrastive_similarity as reference
from asl_fast.reference._precision import compute_dtype

_NAME = "contrastive_similarity_loss"


def _fake(features: Tensor, mask: Tensor, segments: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    dtype, count = compute_dtype(features), segments.shape[0]
    shapes = ((), (3, count, features.shape[2]), (3, 3, count))
    loss, vectors, stats = (features.new_empty(shape, dtype=dtype) for shape in shapes)
    ranges = features.new_empty((count, 12), dtype=torch.int32)
    return torch.empty_like(loss), loss, vectors, stats, ranges, torch.empty_like(loss)


def _fake_backward(
    grad_total: Tensor | None, grad_loss: Tensor | None, features: Tensor, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    mu, sigma, need_features, need_gaussians = rest[4], rest[5], rest[-2], rest[-1]
    return (
        features.new_empty(features.shape if need_features else (0,)),
        mu.new_empty(mu.shape if need_gaussians else (0,)),
        sigma.new_empty(sigma.shape if need_gaussians else (0,)),
    )


def _check_values(
    features: Tensor, mask: Tensor, segments: Tensor, labels: Tensor, offsets: Tensor, *rest: Any
) -> None:
    classes = rest[0].shape[0]
    if int(offsets[0]) != 0 or int(offsets[-1]) != len(segments) or bool((offsets.diff() < 0).any()):
        raise ValueError(f"{_NAME}: targets.offsets must rise from 0 to {len(segments)}, got {offsets.tolist()}")
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(
            f"{_NAME}: labels must lie in [0, {classes - 1}], got {int(labels.min())} to {int(labels.max())}"
        )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.temperature, ctx.weight = inputs[-2:]
    ctx.mark_non_differentiable(*output[2:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:7], *output[2:])


def _backward(ctx: Any, grad_total: Tensor | None, grad_loss: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    _library.refuse_double_backward("contrastive_similarity")
    need_features, need_mu, need_sigma, need_base = (ctx.needs_input_grad[position] for position in (0, 5, 6, 7))
    grads: list[Tensor | None] = [None] * 11
    grads[7] = grad_total if need_base else None
    if (grad_total is None and grad_loss is None) or not (need_features or need_mu or need_sigma):
        return tuple(grads)
    features, mu, sigma = _backward_op(
        grad_total, grad_loss, *ctx.saved_tensors, ctx.temperature, ctx.weight, need_features, need_mu or need_sigma
    )
    for position, gradient, needed in ((0, features, need_features), (5, mu, need_mu), (6, sigma, need_sigma)):
        grads[position] = gradient if needed else None
    return tuple(grads)


_op = _library.define(
    "contrastive_similarity_loss(Tensor features, Tensor mask, Tensor segments, Tensor labels, Tensor offsets, "
    "Tensor mu, Tensor sigma, Tensor? base, float delta, float temperature, float weight) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    fake=_fake,
    check_values=_check_values,
)
_backward_op = _library.define(
    "contrastive_similarity_loss_backward(Tensor? grad_total, Tensor? grad_loss, Tensor features, Tensor mask, "
    "Tensor segments, Tensor labels, Tensor offsets, Tensor mu, Tensor sigma, Tensor vectors, Tensor stats, "
    "Tensor ranges, Tensor count, float temperature, float weight, bool need_features, bool need_gaussians) "
    "-> (Tensor, Tensor, Tensor)",
    fake=_fake_backward,
)
_library.differentiable("contrastive_similarity_loss", setup_context=_setup_context, backward=_backward)

_dispatch.register("contrastive_similarity_loss", "reference", reference.contrastive_similarity_forward)
_dispatch.register("contrastive_similarity_loss_backward", "reference", reference.contrastive_similarity_backward)
_dispatch.register(
    "contrastive_similarity_loss", "cpu", "asl_fast.ops._contrastive_similarity_cpu:contrastive_similarity_forward"
)
_dispatch.register(
    "contrastive_similarity_loss_backward",
    "cpu",
    "asl_fast.ops._contrastive_similarity_cpu:contrastive_similarity_backward",
)
_dispatch.register(
    "contrastive_similarity_loss", "triton", "asl_fast.kernels.contrastive_similarity:contrastive_similarity_forward"
)
_dispatch.register(
    "contrastive_similarity_loss_backward",
    "triton",
    "asl_fast.kernels.contrastive_similarity_backward:contrastive_similarity_backward",
)
_dispatch.register(
    "contrastive_similarity_loss", "cuda", "asl_fast.ops._contrastive_similarity_cuda:contrastive_similarity_forward"
)
_dispatch.register(
    "contrastive_similarity_loss_backward",
    "cuda",
    "asl_fast.ops._contrastive_similarity_cuda:contrastive_similarity_backward",
)


def contrastive_similarity_loss(
    features: Tensor,
    mask: Tensor,
    targets: RaggedTargets,
    mu: Tensor,
    sigma: Tensor,
    *,
    delta: float = 0.2,
    temperature: float = 0.07,
) -> Tensor:
    """InfoNCE between the most sensitive moments of the instances of a batch (Shao et al., ICCV 2023, section 3.3).

    Per instance: f_cls pools the frames within ``delta`` instance lengths of the frame most sensitive for classifying
    with weights p_cls, f_loc those around the frames most sensitive for start and end with weights p_start + p_end,
    f_bg the frames within ``delta`` lengths outside its two ends. Every f_cls and f_loc is an anchor; the others of its
    class are positives, those of other classes and every f_bg are negatives. The result is the mean over anchors of

        -log(sum_P exp(cos / temperature) / sum_(P and N) exp(cos / temperature))

    Args:
        features: (B, T, D) of the finest level, any floating type; computed in float32 (float64 stays).
        mask: (B, T) bool, True on the leading valid frames of each video.
        targets: ground truth in frames of ``features``. An instance between two frames uses the nearest one; one that
            touches no valid frame, or has no length, takes no part.
        mu: (C, 3) centres [cls, start, end], in instance lengths from the instance's centre.
        sigma: (C, 3) widths, positive, in instance lengths.
        delta: half width of the ranges, in instance lengths, >= 0.
        temperature: > 0.

    Returns:
        Scalar, exactly 0 (with a graph) without instances. Differentiable once in features, mu and sigma; the choice of
        frames is treated as constant.

    Raises:
        ValueError: shapes that do not belong together, negative ``delta``, ``temperature <= 0``.
        TypeError: features not floating, mask not bool.
    """
    return _call(None, 1.0, features, mask, targets, mu, sigma, delta, temperature)[1]


def add_contrastive_similarity_loss(
    base: Tensor,
    weight: float,
    features: Tensor,
    mask: Tensor,
    targets: RaggedTargets,
    mu: Tensor,
    sigma: Tensor,
    *,
    delta: float = 0.2,
    temperature: float = 0.07,
) -> tuple[Tensor, Tensor]:
    """``base + weight * loss`` and the loss itself, in the launches of the loss alone; both have gradients.

    Args:
        base: scalar of any floating type, which the sum keeps: what the other losses sum to.
        weight: of :func:`contrastive_similarity_loss`, whose arguments and errors the others are.
    """
    _checks.floating(_NAME, base=base)
    if base.dim() != 0:
        raise ValueError(f"{_NAME}: base must be a scalar, got {tuple(base.shape)}")
    _checks.same_device(_NAME, features=features, base=base)
    wide = base.to(compute_dtype(features))
    total, loss = _call(wide, weight, features, mask, targets, mu, sigma, delta, temperature)
    return total.to(base.dtype), loss


def _call(
    base: Tensor | None,
    weight: float,
    features: Tensor,
    mask: Tensor,
    targets: RaggedTargets,
    mu: Tensor,
    sigma: Tensor,
    delta: float,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    segments, labels, offsets = targets
    _checks.floating(_NAME, features=features, segments=segments, mu=mu, sigma=sigma)
    if features.dim() != 3 or tuple(mask.shape) != tuple(features.shape[:2]):
        raise ValueError(
            f"{_NAME}: features must be (B, T, D) and mask (B, T), got {tuple(features.shape)} and {tuple(mask.shape)}"
        )
    if mask.dtype != torch.bool:
        raise TypeError(f"{_NAME}: mask must be bool, got {mask.dtype}")
    if offsets.shape[0] != features.shape[0] + 1:
        raise ValueError(
            f"{_NAME}: targets of {offsets.shape[0] - 1} videos do not fit features of {features.shape[0]}"
        )
    if segments.dim() != 2 or segments.shape[1] != 2 or labels.shape != segments.shape[:1]:
        raise ValueError(
            f"{_NAME}: targets need segments (G, 2) and labels (G,), got {tuple(segments.shape)} and "
            f"{tuple(labels.shape)}"
        )
    if mu.dim() != 2 or mu.shape[1] != 3 or mu.shape != sigma.shape:
        raise ValueError(f"{_NAME}: mu and sigma must both be (C, 3), got {tuple(mu.shape)} and {tuple(sigma.shape)}")
    if not delta >= 0 or not temperature > 0:
        raise ValueError(f"{_NAME}: need delta >= 0 and temperature > 0, got {delta} and {temperature}")
    _checks.same_device(_NAME, features=features, mask=mask, segments=segments, labels=labels, mu=mu, sigma=sigma)
    settings = (float(delta), float(temperature), float(weight))
    total, loss, *_ = _op(features, mask, segments.detach(), labels, offsets, mu, sigma, base, *settings)
    return total, loss
