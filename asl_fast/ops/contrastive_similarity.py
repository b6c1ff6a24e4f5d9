# SPDX-License-Identifier: Apache-2.0
"""Action Sensitive Contrastive Loss: instances of a class should look alike at their sensitive moments."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from asl_fast.ops import _checks, _dispatch, _library
from asl_fast.ops.ragged import RaggedTargets
from asl_fast.reference import contrastive_similarity as reference
from asl_fast.reference._precision import compute_dtype


def _fake(features: Tensor, mask: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    mu, sigma, need_grad = rest[3], rest[4], rest[-1]
    dtype = compute_dtype(features)
    shapes = (x.shape if need_grad else (0,) for x in (features, mu, sigma))
    grad_features, grad_mu, grad_sigma = (features.new_empty(shape, dtype=dtype) for shape in shapes)
    return features.new_empty((), dtype=dtype), grad_features, grad_mu, grad_sigma


def _check_values(
    features: Tensor, mask: Tensor, segments: Tensor, labels: Tensor, offsets: Tensor, *rest: Any
) -> None:
    classes = rest[0].shape[0]
    if int(offsets[0]) != 0 or int(offsets[-1]) != len(segments) or bool((offsets.diff() < 0).any()):
        raise ValueError(
            f"contrastive_similarity_loss: targets.offsets must rise from 0 to {len(segments)}, got {offsets.tolist()}"
        )
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(
            f"contrastive_similarity_loss: labels must lie in [0, {classes - 1}], got {int(labels.min())} to "
            f"{int(labels.max())}"
        )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.dtypes = tuple(inputs[i].dtype for i in (0, 5, 6))
    ctx.need_grad = inputs[-1]
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output[1:])


def _backward(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    _library.refuse_double_backward("contrastive_similarity")
    grads: list[Tensor | None] = [None] * 10
    if grad is not None:
        for position, unit, dtype in zip((0, 5, 6), ctx.saved_tensors, ctx.dtypes, strict=True):
            if ctx.needs_input_grad[position]:
                _library.require_unit_gradient("contrastive_similarity", ctx.need_grad)
                grads[position] = (unit * grad).to(dtype)
    return tuple(grads)


_op = _library.define(
    "contrastive_similarity_loss(Tensor features, Tensor mask, Tensor segments, Tensor labels, Tensor offsets, "
    "Tensor mu, Tensor sigma, float delta, float temperature, bool need_grad) -> (Tensor, Tensor, Tensor, Tensor)",
    fake=_fake,
    check_values=_check_values,
)
_library.differentiable("contrastive_similarity_loss", setup_context=_setup_context, backward=_backward)

_dispatch.register("contrastive_similarity_loss", "reference", reference.contrastive_similarity_blocks)


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
    op = "contrastive_similarity_loss"
    segments, labels, offsets = targets
    _checks.floating(op, features=features, segments=segments, mu=mu, sigma=sigma)
    if features.dim() != 3 or tuple(mask.shape) != tuple(features.shape[:2]):
        raise ValueError(
            f"{op}: features must be (B, T, D) and mask (B, T), got {tuple(features.shape)} and {tuple(mask.shape)}"
        )
    if mask.dtype != torch.bool:
        raise TypeError(f"{op}: mask must be bool, got {mask.dtype}")
    if offsets.shape[0] != features.shape[0] + 1:
        raise ValueError(f"{op}: targets of {offsets.shape[0] - 1} videos do not fit features of {features.shape[0]}")
    if segments.dim() != 2 or segments.shape[1] != 2 or labels.shape != segments.shape[:1]:
        raise ValueError(
            f"{op}: targets need segments (G, 2) and labels (G,), got {tuple(segments.shape)} and {tuple(labels.shape)}"
        )
    if mu.dim() != 2 or mu.shape[1] != 3 or mu.shape != sigma.shape:
        raise ValueError(f"{op}: mu and sigma must both be (C, 3), got {tuple(mu.shape)} and {tuple(sigma.shape)}")
    if not delta >= 0 or not temperature > 0:
        raise ValueError(f"{op}: need delta >= 0 and temperature > 0, got {delta} and {temperature}")
    _checks.same_device(op, features=features, mask=mask, segments=segments, labels=labels, mu=mu, sigma=sigma)
    need_grad = torch.is_grad_enabled() and any(x.requires_grad for x in (features, mu, sigma))
    loss: Tensor = _op(
        features, mask, segments.detach(), labels, offsets, mu, sigma, float(delta), float(temperature), need_grad
    )[0]
    return loss
