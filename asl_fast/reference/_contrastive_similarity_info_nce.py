# SPDX-License-Identifier: Apache-2.0
"""InfoNCE between pooled vectors: similarities of anchors with keys, and their log-sum-exps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

BLOCK = 2048
"""Anchors that `info_nce` compares at a time; of more, similarities are computed again for the gradient, not kept."""


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


def info_nce(
    vectors: Tensor,
    labels: Tensor,
    temperature: float,
    others: tuple[Tensor, Tensor] | None = None,
    *,
    each_positive: bool = False,
) -> Tensor:
    """Return the mean loss of the anchors with a positive.

    Args:
        vectors: (K, D), anchors and keys.
        labels: (K,) as ``vector_labels`` gives them.
        temperature: Divisor of the similarities, tau.
        others: Vectors (M, D) and labels (M,) that are keys alone, beyond the K.
        each_positive: Take -log(sim / sum of all sim) of each positive and the mean of these, instead of the logarithm
            of the positives' sum, which one near positive satisfies (Khosla et al., NeurIPS 2020, equations 2 and 3).

    Returns:
        (), 0 with a graph where no anchor has a positive.
    """
    index = torch.arange(len(vectors), device=vectors.device)
    keys, key_labels = vectors, labels
    if others is not None:
        keys, key_labels = torch.cat([vectors, others[0].to(vectors.dtype)]), torch.cat([labels, others[1]])
    keys, _ = unit_vectors(keys)

    def compare(keys: Tensor, begin: int) -> tuple[Tensor, Tensor]:
        rows = slice(begin, min(begin + BLOCK, len(vectors)))
        among = similarities(keys[rows], index[rows], labels[rows], keys, key_labels, temperature)
        log_all, log_positive, counted = log_sums(*among)
        if each_positive:
            positive = among[1] > torch.finfo(keys.dtype).min / 4
            log_positive = torch.where(positive, among[1], 0.0).sum(-1) / positive.sum(-1).clamp(min=1)
        return torch.where(counted, log_all - log_positive, 0.0).sum(), counted.sum()

    if len(vectors) <= BLOCK:
        total, number = compare(keys, 0)
    else:
        # No random numbers are drawn within, and reading their state would break the recording of a CUDA graph.
        parts = [
            checkpoint(compare, keys, begin, use_reentrant=False, preserve_rng_state=False)
            for begin in range(0, len(vectors), BLOCK)
        ]
        total, number = (torch.stack(each).sum() for each in zip(*parts, strict=True))
    return total / number.clamp(min=1)
