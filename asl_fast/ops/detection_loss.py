# SPDX-License-Identifier: Apache-2.0
"""Label assignment and every loss of a detector's outputs as one op: one pass forward, one backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from asl_fast.ops import _checks, _dispatch, _library
from asl_fast.ops.assign_points import _check_values as check_targets
from asl_fast.ops.ragged import RaggedTargets
from asl_fast.reference import detection_loss as reference
from asl_fast.reference._precision import compute_dtype, unit_gradient_dtype

BRANCHES = ("cls", "loc")
FACTORS = 7


class RawGaussians(NamedTuple):
    """Unconstrained parameters of the class Gaussians, and how they become mu and sigma.

        mu = mu_init + s atan(raw / s), sigma = sigma_init exp(s atan(raw / s)),  s the scale on the side of raw

    Attributes:
        mu: (C, 3) raw centres [cls, start, end].
        sigma: (C, 3) raw widths.
        mu_init: three centres at raw = 0, in instance lengths.
        mu_scale: s of mu on both sides.
        sigma_init: width at raw = 0.
        sigma_scales: s of sigma where raw < 0 and where raw > 0.
    """

    mu: Tensor
    sigma: Tensor
    mu_init: tuple[float, float, float]
    mu_scale: float
    sigma_init: float
    sigma_scales: tuple[float, float]


class DetectionLoss(NamedTuple):
    """Results of :func:`detection_loss`; scalars unless a shape is given.

    Attributes:
        total: cls + location weight * loc + sensitivity.
        cls: focal loss over the normaliser.
        loc: DIoU loss over the normaliser.
        sensitivity: squared error of the evaluator, mean over positives.
        num_positives: int64.
        normalizer: the updated one, in the dtype it was given in.
        mu: (C, 3) centres of the Gaussians, with gradient; empty without them.
        sigma: (C, 3) widths, likewise.
        segments_finest: (G, 2) the targets' segments in strides of the first point, that is in frames of the finest
            level, which the contrastive loss takes; empty likewise.
    """

    total: Tensor
    cls: Tensor
    loc: Tensor
    sensitivity: Tensor
    num_positives: Tensor
    normalizer: Tensor
    mu: Tensor
    sigma: Tensor
    segments_finest: Tensor


def _fake(
    logits: Tensor, offsets: Tensor, quality: Tensor | None, mask: Tensor, points: Tensor, segments: Tensor, *rest: Any
) -> tuple[Tensor, ...]:
    raw_mu, normalizer, need = rest[2], rest[4], rest[-1]
    dtype = compute_dtype(logits)
    scalar = [logits.new_empty((), dtype=dtype) for _ in range(4)]
    tables = [logits.new_empty((0,) if raw_mu is None else raw_mu.shape, dtype=dtype) for _ in range(2)]
    units = [
        logits.new_empty(like.shape if needed else (0,), dtype=unit_gradient_dtype(like))
        for like, needed in zip((logits, offsets, logits if quality is None else quality), need, strict=False)
    ]
    if raw_mu is None:
        segments_finest = logits.new_empty((0,), dtype=dtype)
    else:
        segments_finest = segments.new_empty(segments.shape, dtype=torch.promote_types(segments.dtype, points.dtype))
    return (
        *scalar,
        logits.new_empty((), dtype=torch.int64),
        normalizer.new_empty(()),
        *tables,
        segments_finest,
        *units,
        logits.new_empty(mask.shape, dtype=torch.int32),
        logits.new_empty((3, *mask.shape), dtype=dtype),
        logits.new_empty((FACTORS,), dtype=dtype),
    )


def _fake_backward(*arguments: Any) -> tuple[Tensor, ...]:
    units, factors, raws = arguments[6:9], arguments[11], arguments[12:14]
    return (
        *(torch.empty_like(unit, memory_format=torch.contiguous_format) for unit in units),
        *(factors.new_empty(0) if raw is None else raw.new_empty(raw.shape) for raw in raws),
    )


def _check_values(logits: Tensor, offsets: Tensor, quality: Tensor | None, mask: Tensor, *rest: Any) -> None:
    check_targets(*rest[:4], logits.shape[-1])


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.dtypes = tuple(None if inputs[i] is None else inputs[i].dtype for i in (0, 1, 2))
    ctx.need, ctx.form = inputs[-1], inputs[11]
    ctx.learns = [inputs[12] and weighted for weighted in inputs[13]]
    with_gaussians = ctx.need[3]
    ctx.mark_non_differentiable(*output[4 : 6 if with_gaussians else 8], *output[8:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output[9:], *(inputs[8:10] if with_gaussians else (None, None)))


def _backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    _library.refuse_double_backward("detection_loss")
    results: list[Tensor | None] = [None] * 25
    scalars, tables = grads[:4], grads[6:8]
    if all(grad is None for grad in (*scalars, *tables)):
        return tuple(results)
    found = _op_backward(*scalars, *tables, *ctx.saved_tensors, ctx.form, ctx.learns)
    for position, grad in zip((0, 1, 2), found, strict=False):
        if ctx.needs_input_grad[position]:
            _library.require_unit_gradient("detection_loss", ctx.need[position])
            results[position] = grad.to(ctx.dtypes[position])
    for position, grad in zip((8, 9), found[3:], strict=True):
        if ctx.needs_input_grad[position]:
            _library.require_unit_gradient("detection_loss", ctx.need[3])
            results[position] = grad
    return tuple(results)


_op = _library.define(
    "detection_loss(Tensor logits, Tensor offsets, Tensor? quality, Tensor mask, Tensor points, Tensor segments, "
    "Tensor labels, Tensor bounds, Tensor? raw_mu, Tensor? raw_sigma, Tensor normalizer, float[] form, "
    "bool class_level, bool[] sensitive, int[] columns, float[] constants, bool normalize, "
    "float? center_sampling_radius, float tie_tolerance, float alpha, float gamma, float label_smoothing, "
    "float momentum, float location_weight, bool[] need) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, "
    "Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    fake=_fake,
    check_values=_check_values,
)
_op_backward = _library.define(
    "detection_loss_backward(Tensor? grad_total, Tensor? grad_cls, Tensor? grad_loc, Tensor? grad_sensitivity, "
    "Tensor? grad_mu, Tensor? grad_sigma, Tensor unit_logits, Tensor unit_offsets, Tensor unit_quality, Tensor label, "
    "Tensor rows, Tensor factors, Tensor? raw_mu, Tensor? raw_sigma, float[] form, bool[] learns) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    fake=_fake_backward,
)
_library.differentiable("detection_loss", setup_context=_setup_context, backward=_backward)

_dispatch.register("detection_loss", "reference", reference.detection_loss)
_dispatch.register("detection_loss", "cpu", "asl_fast.ops._detection_loss_cpu:detection_loss")
_dispatch.register("detection_loss", "triton", "asl_fast.kernels.detection_loss:detection_loss")
_dispatch.register("detection_loss_backward", "reference", reference.detection_loss_backward)
_dispatch.register("detection_loss_backward", "cpu", "asl_fast.ops._detection_loss_cpu:detection_loss_backward")
_dispatch.register(
    "detection_loss_backward", "triton", "asl_fast.kernels.detection_loss_backward:detection_loss_backward"
)


def detection_loss(
    logits: Tensor,
    offsets: Tensor,
    mask: Tensor,
    points: Tensor,
    targets: RaggedTargets,
    normalizer: Tensor,
    *,
    quality: Tensor | None = None,
    gaussians: RawGaussians | None = None,
    class_level: bool = True,
    branches: Sequence[str] = BRANCHES,
    constant_weights: tuple[float, float] = (1.0, 1.0),
    normalize: bool = True,
    center_sampling_radius: float | None = 1.5,
    tie_tolerance: float = 1e-3,
    alpha: float = 0.25,
    gamma: float = 2.0,
    label_smoothing: float = 0.0,
    momentum: float = 1.0,
    location_weight: float = 1.0,
) -> DetectionLoss:
    """Assigns points to the ground truth and computes every loss of an anchor-free detector but the contrastive one.

        cls = (sum over positives w(h_cls) Focal + sum over background Focal) / N
        loc = sum over positives w(h_loc) DIoU / N
        sensitivity = mean over positives of (q_cls - sigmoid(logit of the class))² + (q_loc - tIoU)², targets detached
        h_cls = p_cls + q_cls, h_loc = p_start + p_end + q_loc,  q detached;  w(h) = h / mean(h), or h

    (Shao et al., ICCV 2023, section 3.2, on Zhang et al., ECCV 2022, 3.3), with N = momentum N + (1 - momentum)
    max(number of positives, 1). Assignment is that of :func:`asl_fast.assign_points`, the losses those of
    :func:`asl_fast.sensitivity_focal_loss` and :func:`asl_fast.diou_loss`.

    Args:
        logits: (B, P, C) floating point, all levels concatenated.
        offsets: (B, P, 2) >= 0, distances to start and end in strides.
        mask: (B, P) bool, True where valid.
        points: (P, 4) time, range low, range high (grid), stride.
        targets: ground truth of B videos; segments in grid units.
        normalizer: () the previous N; it is not written.
        quality: (B, P, len(branches)) of the instance-level evaluator, in the order of ``branches``.
        gaussians: of the class level.
        class_level: whether p is part of h; without it the Gaussians are only handed on as ``mu`` and ``sigma``.
        branches: sub-tasks whose positives are weighted by h, of "cls" and "loc"; without ``quality`` and p, none is.
        constant_weights: w of positives in (cls, loc) where h is not used.
        normalize: whether w(h) has mean 1 over the positives of the batch; its divisor carries gradient.
        center_sampling_radius: in strides; None lets the whole instance claim.
        tie_tolerance: in grid units.
        alpha: of the focal loss.
        gamma: of the focal loss.
        label_smoothing: of the focal loss.
        momentum: of N; 1 leaves N as it is.
        location_weight: factor of ``loc`` in ``total``; <= 0 is cls / max(loc, 0.01), treated as constant.

    Returns:
        A :class:`DetectionLoss` in float32, float64 if logits are. Gradients reach logits, offsets, quality and the raw
        parameters, once.

    Raises:
        TypeError: a tensor of the wrong kind.
        ValueError: shapes that do not belong together, two devices, an unknown branch; labels or offsets of targets
            out of range (CPU tensors only).
    """
    op = "detection_loss"
    segments, labels, bounds = targets
    raw_mu, raw_sigma = (None, None) if gaussians is None else (gaussians.mu, gaussians.sigma)
    given = {"logits": logits, "offsets": offsets, "quality": quality, "points": points, "segments": segments}
    _checks.floating(op, **given, raw_mu=raw_mu, raw_sigma=raw_sigma, normalizer=normalizer)
    if not set(branches) <= set(BRANCHES) or len(set(branches)) != len(branches):
        raise ValueError(f'{op}: branches may hold "cls" and "loc", got {tuple(branches)}')
    if logits.dim() != 3 or not logits.numel():
        raise ValueError(f"{op}: logits must be (B, P, C), none of them 0, got {tuple(logits.shape)}")
    videos, count, classes = logits.shape
    shapes = {
        "offsets": (offsets, (videos, count, 2)),
        "mask": (mask, (videos, count)),
        "points": (points, (count, 4)),
        "targets.segments": (segments, (labels.shape[0] if labels.dim() else 0, 2)),
        "targets.offsets": (bounds, (videos + 1,)),
        "quality": (quality, (videos, count, len(branches))),
        "gaussians.mu": (raw_mu, (classes, 3)),
        "gaussians.sigma": (raw_sigma, (classes, 3)),
        "normalizer": (normalizer, ()),
    }
    for name, (tensor, shape) in shapes.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"{op}: {name} must be {shape} to fit logits and labels, got {tuple(tensor.shape)}")
    if mask.dtype != torch.bool:
        raise TypeError(f"{op}: mask must be bool, got {mask.dtype}")
    for name, tensor in (("labels", labels), ("offsets", bounds)):
        if tensor.dtype != torch.int64:
            raise TypeError(f"{op}: targets.{name} must be int64, got {tensor.dtype}")
    _checks.same_device(op, **given, mask=mask, labels=labels, bounds=bounds, raw_mu=raw_mu, normalizer=normalizer)
    class_level = class_level and gaussians is not None
    weighted = class_level or quality is not None
    recording = torch.is_grad_enabled()

    def needed(*tensors: Tensor | None) -> bool:
        return recording and any(tensor is not None and tensor.requires_grad for tensor in tensors)

    outputs = _op(
        logits,
        offsets,
        quality,
        mask,
        points.detach(),
        segments.detach(),
        labels,
        bounds,
        raw_mu,
        raw_sigma,
        normalizer.detach(),
        [] if gaussians is None else [*gaussians.mu_init, gaussians.mu_scale, gaussians.sigma_init]
        + list(gaussians.sigma_scales),
        class_level,
        [weighted and branch in branches for branch in BRANCHES],
        [branches.index(branch) if quality is not None and branch in branches else -1 for branch in BRANCHES],
        list(constant_weights),
        normalize,
        center_sampling_radius,
        tie_tolerance,
        alpha,
        gamma,
        label_smoothing,
        momentum,
        location_weight,
        [needed(logits), needed(offsets), needed(quality), needed(raw_mu, raw_sigma)],
    )  # fmt: skip
    return DetectionLoss(*outputs[:9])
