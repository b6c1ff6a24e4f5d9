# SPDX-License-Identifier: Apache-2.0
"""Action Sensitive Contrastive Loss: instances of a class should look alike at their sensitive moments."""

from __future__ import annotations

import torch
from torch import Tensor

from asl_fast.backend import forced_backend
from asl_fast.ops import _checks, _dispatch, _library
from asl_fast.ops.ragged import RaggedTargets
from asl_fast.reference import contrastive_similarity as reference
from asl_fast.reference._contrastive_similarity_info_nce import info_nce
from asl_fast.reference._precision import compute_dtype
from asl_fast.reference.contrastive_similarity import BackwardOperands, BackwardOutputs, Operands, Outputs

__all__ = ["add_contrastive_similarity_loss", "contrastive_similarity_loss", "info_nce", "instance_vectors"]

_NAME = "contrastive_similarity_loss"
_BACKWARD = "contrastive_similarity_loss_backward"


def _check_values(given: Operands) -> None:
    count, classes = given.segments.shape[0], given.mu.shape[0]
    bounds: list[int] = given.video_offsets.tolist()
    if bounds[0] != 0 or bounds[-1] > count or bounds != sorted(bounds):
        raise ValueError(f"{_NAME}: targets.video_offsets must rise from 0 to at most {count}, got {bounds}")
    if bounds[-1]:
        lowest, highest = map(int, torch.aminmax(given.labels[: bounds[-1]]))
        if lowest < 0 or highest >= classes:
            raise ValueError(f"{_NAME}: labels must lie in [0, {classes - 1}], got {lowest} to {highest}")


def _gradients(given: Operands, found: Outputs, grads: Outputs, needed: Operands) -> dict[str, Tensor | None]:
    need_features, need_gaussians = bool(needed.features), bool(needed.mu or needed.sigma)
    results: dict[str, Tensor | None] = {"base": grads.total}
    if need_features or need_gaussians:
        backward = given.backward(
            found,
            grad_total=grads.total,
            grad_loss=grads.loss,
            need_features=need_features,
            need_gaussians=need_gaussians,
        )
        through = BackwardOutputs(*_backward_op(*backward))
        results.update(features=through.grad_features, mu=through.grad_mu, sigma=through.grad_sigma)
    return results


_op = _library.define(Operands, _NAME, check_values=_check_values)
_backward_op = _library.define(BackwardOperands, _BACKWARD)
_SAVED = ("vectors", "stats", "ranges", "anchors", "similarities")
_library.differentiable(
    Operands,
    _NAME,
    _gradients,
    keep_operands=("features", "mask", "segments", "labels", "video_offsets", "mu", "sigma"),
    keep_outputs=_SAVED,
    constant=_SAVED,
)

_dispatch.register(_NAME, "reference", reference.contrastive_similarity_loss)
_dispatch.register(_BACKWARD, "reference", reference.contrastive_similarity_loss_backward)
_dispatch.register(_NAME, "cpu", "asl_fast.ops._contrastive_similarity_native:cpu")
_dispatch.register(_BACKWARD, "cpu", "asl_fast.ops._contrastive_similarity_native:cpu_backward")
_dispatch.register(_NAME, "triton", "asl_fast.kernels.contrastive_similarity:contrastive_similarity_loss")
_dispatch.register(
    _BACKWARD, "triton", "asl_fast.kernels.contrastive_similarity_backward:contrastive_similarity_loss_backward"
)
_dispatch.register(_NAME, "cuda", "asl_fast.ops._contrastive_similarity_native:cuda")
_dispatch.register(_BACKWARD, "cuda", "asl_fast.ops._contrastive_similarity_native:cuda_backward")


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
    """Compute InfoNCE between the most sensitive moments of a batch's instances (Shao et al., ICCV 2023, 3.3).

    Per instance: f_cls pools the frames within ``delta`` instance lengths of the frame most sensitive for classifying
    with weights p_cls, f_loc those around the frames most sensitive for start and end with weights p_start + p_end,
    f_bg the frames within ``delta`` lengths outside its two ends. Every f_cls and f_loc is an anchor; the others of its
    class are positives, those of other classes and every f_bg are negatives. The result is the mean over anchors of

        -log(sum_P exp(cos / temperature) / sum_(P and N) exp(cos / temperature))

    Args:
        features: (B, T, D) of the finest level, any floating type; computed in float32 (float64 stays).
        mask: (B, T) bool, True on the leading valid frames of each video.
        targets: Ground truth in frames of ``features``. An instance between two frames uses the nearest one; one that
            touches no valid frame, or has no length, takes no part, like what follows the last video.
        mu: (C, 3) centres [cls, start, end], in instance lengths from the instance's centre.
        sigma: (C, 3) widths, positive, in instance lengths.
        delta: Half width of the ranges, in instance lengths, >= 0.
        temperature: Above 0.

    Returns:
        Scalar, exactly 0 (with a graph) without instances. Differentiable once in features, mu and sigma; the choice of
        frames is treated as constant.

    Raises:
        ValueError: Shapes that do not belong together, negative ``delta``, ``temperature <= 0``.
        TypeError: Features not floating, mask not bool.
    """
    given = _operands(None, 1.0, features, mask, targets, mu, sigma, delta, temperature)
    return Outputs(*_op(*given)).loss


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
    """Return ``base + weight * loss`` and the loss, in the launches of the loss alone; both have gradients.

    Args:
        base: Scalar of any floating type, which the sum keeps: what the other losses sum to.
        weight: Factor of the loss.
        features: As in :func:`contrastive_similarity_loss`, like everything that follows and the errors.
        mask: (B, T) bool.
        targets: Ground truth in frames of ``features``.
        mu: (C, 3) centres.
        sigma: (C, 3) widths.
        delta: Half width of the ranges.
        temperature: Above 0.
    """
    _checks.floating(_NAME, base=base)
    if base.dim() != 0:
        raise ValueError(f"{_NAME}: base must be a scalar, got {tuple(base.shape)}")
    _checks.same_device(_NAME, features=features, base=base)
    wide = base.to(compute_dtype(features))
    given = _operands(wide, weight, features, mask, targets, mu, sigma, delta, temperature)
    found = Outputs(*_op(*given))
    return found.total.to(base.dtype), found.loss


def instance_vectors(
    features: Tensor, mask: Tensor, targets: RaggedTargets, mu: Tensor, sigma: Tensor, *, delta: float = 0.2
) -> tuple[Tensor, Tensor]:
    """Pool what the contrastive loss compares, for a comparison that goes beyond one level or one batch.

    It is plain PyTorch on every device and holds a (3 G, B T) matrix; nothing is read back from a GPU. An instance
    without length takes no part.

    Args:
        features: As in :func:`contrastive_similarity_loss`, like everything that follows and the errors.
        mask: (B, T) bool.
        targets: Ground truth in frames of ``features``.
        mu: (C, 3) centres.
        sigma: (C, 3) widths.
        delta: Half width of the ranges.

    Returns:
        Vectors (3 G, D), f_cls, f_loc and f_bg of each instance, with gradient; and labels (3 G,) int64: the class,
        -1 of background, -2 of what takes no part, which :func:`info_nce` leaves out. On a CPU padding is left out, so
        that G are the instances of the videos.
    """
    given = _operands(None, 1.0, features, mask, targets, mu, sigma, delta, 1.0)
    return given.without_padding().instance_vectors()


def _operands(
    base: Tensor | None,
    weight: float,
    features: Tensor,
    mask: Tensor,
    targets: RaggedTargets,
    mu: Tensor,
    sigma: Tensor,
    delta: float,
    temperature: float,
) -> Operands:
    segments, labels, video_offsets = targets
    _checks.floating(_NAME, features=features, segments=segments, mu=mu, sigma=sigma)
    if features.dim() != 3 or tuple(mask.shape) != tuple(features.shape[:2]):
        raise ValueError(
            f"{_NAME}: features must be (B, T, D) and mask (B, T), got {tuple(features.shape)} and {tuple(mask.shape)}"
        )
    if mask.dtype != torch.bool:
        raise TypeError(f"{_NAME}: mask must be bool, got {mask.dtype}")
    if video_offsets.shape[0] != features.shape[0] + 1:
        raise ValueError(
            f"{_NAME}: targets of {video_offsets.shape[0] - 1} videos do not fit features of {features.shape[0]}"
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
    return Operands(
        features=features,
        mask=mask,
        segments=segments.detach(),
        labels=labels,
        video_offsets=video_offsets,
        mu=mu,
        sigma=sigma,
        base=base,
        delta=float(delta),
        temperature=float(temperature),
        weight=float(weight),
        keep_similarities=_keeps_similarities(features, mu, sigma),
    )


def _keeps_similarities(features: Tensor, *gaussians: Tensor) -> bool:
    """Tell whether the backward pass may come to need them, and Triton computes it."""
    if not _library.may_need_gradient(features, *gaussians):
        return False
    if torch.compiler.is_compiling():  # the graph is traced for a device, whatever is forced
        return features.is_cuda
    forced = forced_backend()
    return forced == "triton" or (forced is None and features.is_cuda)
