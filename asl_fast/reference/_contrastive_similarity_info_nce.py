# SPDX-License-Identifier: Apache-2.0
"""InfoNCE between pooled vectors: similarities of anchors with keys, and their log-sum-exps."""

from __future__ import annotations

import torch
from torch import Tensor


def vector_labels(state: Tensor, labels: Tensor) -> Tensor:
    """Return (3, G) labels of f_cls, f_loc and f_bg of every instance: class, -1 background, -2 takes no part."""
    own = torch.where(state > 0, labels, -2)
    return torch.stack([own, own, torch.where(state == 2, -1, -2)])


def unit_vectors(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return vectors of length 1 and one over their lengths; a vector of length 0 stays, without gradient."""
    squared = vectors.square().sum(-1, keepdim=True)
    positive = squared > torch.finfo(vectors.dtype).tiny
    inverse = torch.where(positive, torch.where(positive, squared, 1.0).rsqrt(), 0.0)
    return vectors * inverse, inverse


def similarities(
    rows: Tensor, row_index: Tensor, row_label: Tensor, keys: Tensor, key_label: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return log sim of some anchors with all keys, and with their positives; very negative for the other keys.

    Args:
        rows: (R, D) unit vectors of the anchors.
        row_index: (R,) where each anchor stands among the keys.
        row_label: (R,) class, or -2 for an anchor that takes no part.
        keys: (K, D) unit vectors.
        key_label: (K,) as ``vector_labels`` gives them.
        temperature: Divisor of the similarities, tau.

    Returns:
        (R, K) twice.
    """
    similarity = rows @ keys.T / temperature
    usable = (key_label > -2) & (torch.arange(len(keys), device=keys.device) != row_index[:, None])
    positive = usable & (key_label == row_label[:, None]) & (row_label >= 0)[:, None]
    nothing = torch.finfo(similarity.dtype).min / 4
    return torch.where(usable, similarity, nothing), torch.where(positive, similarity, nothing)


def log_sums(among_all: Tensor, among_positive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the log-sum-exp (R,) of both, and whether (R,) an anchor has a positive."""
    # NaN is a positive too: a loss that cannot be computed must not pass for one without positives, which is 0.
    counted = ~(among_positive <= torch.finfo(among_all.dtype).min / 4).all(-1)
    return among_all.logsumexp(-1), among_positive.logsumexp(-1), counted


def info_nce(vectors: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return the mean loss of the anchors with a positive, for vectors (K, D) and labels (K,)."""
    keys, _ = unit_vectors(vectors)
    index = torch.arange(len(keys), device=keys.device)
    log_all, log_positive, counted = log_sums(*similarities(keys, index, labels, keys, labels, temperature))
    return torch.where(counted, log_all - log_positive, 0.0).sum() / counted.sum().clamp(min=1)
