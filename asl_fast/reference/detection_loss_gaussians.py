# SPDX-License-Identifier: Apache-2.0
"""The class Gaussians: how raw, unbounded parameters become centres and widths, and what a point is worth under them.

Source: Shao et al., ICCV 2023, eq. 1; the bounds on centre and width are this package's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class GaussianForm(NamedTuple):
    """How raw parameters become Gaussians, see :func:`gaussian_tables`."""

    mu_init_cls: float
    mu_init_start: float
    mu_init_end: float
    mu_scale: float
    sigma_init: float
    sigma_scale_below: float
    sigma_scale_above: float


def gaussian_tables(
    raw_mu: Tensor, raw_sigma: Tensor, form: Sequence[float], dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return mu = init + s atan(raw / s) and sigma = init exp(s atan(raw / s)), (C, 3)."""
    shape = GaussianForm(*form)
    mu = torch.atan(raw_mu.to(dtype) / shape.mu_scale) * shape.mu_scale
    # Added as numbers: a tensor made from a list would be copied to the device, and waited for.
    for column in range(3):
        mu[:, column] += shape[column]
    scale = _sigma_scale(raw_sigma, shape, dtype)
    return mu, torch.exp(scale * torch.atan(raw_sigma.to(dtype) / scale)) * shape.sigma_init


def gaussian_slopes(raw_mu: Tensor, raw_sigma: Tensor, sigma: Tensor, form: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Return d mu / d raw_mu and d sigma / d raw_sigma of :func:`gaussian_tables`, (C, 3)."""
    shape, dtype = GaussianForm(*form), sigma.dtype
    scale = _sigma_scale(raw_sigma, shape, dtype)
    slope_mu = 1 / (1 + (raw_mu.to(dtype) / shape.mu_scale) ** 2)
    return slope_mu, sigma / (1 + (raw_sigma.to(dtype) / scale) ** 2)


def _sigma_scale(raw_sigma: Tensor, shape: GaussianForm, dtype: torch.dtype) -> Tensor:
    above = torch.full_like(raw_sigma, shape.sigma_scale_above, dtype=dtype)
    return above.masked_fill(raw_sigma < 0, shape.sigma_scale_below)


def gaussian(distance: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
    """Return exp(-(d - mu)² / (2 sigma²)), the sensitivity of a point at distance d from the centre of its instance.

    Args:
        distance: (...) d, signed, in instance lengths: within [-0.5, 0.5] inside the instance.
        mu: Broadcastable to ``distance``, in instance lengths.
        sigma: Broadcastable to ``distance``, in instance lengths, positive.

    Returns:
        (...), in (0, 1].
    """
    return torch.exp(-0.5 * ((distance - mu) / sigma) ** 2)
