# SPDX-License-Identifier: Apache-2.0
"""Action Sensitive Contrastive Loss: instances of a class should look alike at their sensitive moments."""

from __future__ import annotations

import torch
from torch import Tensor

from asl_fast.ops.ragged import RaggedTargets
from asl_fast.reference import contrastive_similarity as reference


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
    if features.dim() != 3 or tuple(mask.shape) != tuple(features.shape[:2]):
        raise ValueError(
            f"features must be (B, T, D) and mask (B, T), got {tuple(features.shape)} and {tuple(mask.shape)}"
        )
    if not features.is_floating_point():
        raise TypeError(f"features must be floating point, got {features.dtype}")
    if mask.dtype != torch.bool:
        raise TypeError(f"mask must be bool, got {mask.dtype}")
    if len(targets.offsets) != features.shape[0] + 1:
        raise ValueError(f"targets of {len(targets.offsets) - 1} videos do not fit features of {features.shape[0]}")
    if mu.dim() != 2 or mu.shape[1] != 3 or mu.shape != sigma.shape:
        raise ValueError(f"mu and sigma must both be (C, 3), got {tuple(mu.shape)} and {tuple(sigma.shape)}")
    if delta < 0 or temperature <= 0:
        raise ValueError(f"need delta >= 0 and temperature > 0, got {delta} and {temperature}")
    return reference.contrastive_similarity_loss(
        features, mask, targets.segments, targets.labels, targets.offsets, mu, sigma, delta, temperature
    )
