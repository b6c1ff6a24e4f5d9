# SPDX-License-Identifier: Apache-2.0
"""The class Gaussians as ops and losses pass them around: raw parameters, and how they become centres and widths."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from asl_fast.reference.detection_loss_gaussians import GaussianForm, gaussian, gaussian_tables


class RawGaussians(NamedTuple):
    """Unconstrained parameters of the class Gaussians, and how they become mu and sigma.

        mu = mu_init + s atan(raw / s), sigma = sigma_init exp(s atan(raw / s)),  s the scale on the side of raw

    Attributes:
        mu: (C, 3) raw centres [cls, start, end].
        sigma: (C, 3) raw widths.
        mu_init: Three centres at raw = 0, in instance lengths.
        mu_scale: Scale s of mu on both sides.
        sigma_init: Width at raw = 0.
        sigma_scales: Scales s of sigma where raw < 0 and where raw > 0.
    """

    mu: Tensor
    sigma: Tensor
    mu_init: tuple[float, float, float]
    mu_scale: float
    sigma_init: float
    sigma_scales: tuple[float, float]

    def form(self) -> GaussianForm:
        """Return the numbers in the order in which the op takes them."""
        below, above = self.sigma_scales
        return GaussianForm(*self.mu_init, self.mu_scale, self.sigma_init, below, above)

    def tables(self) -> tuple[Tensor, Tensor]:
        """Return mu and sigma, (C, 3) each, in the dtype of the raw parameters."""
        return gaussian_tables(self.mu, self.sigma, self.form(), self.mu.dtype)

    def sensitivities(self, distance: Tensor, labels: Tensor) -> Tensor:
        """Return the sensitivities of points.

        Args:
            distance: (...) signed distances d(x) to the centre of each point's instance, in instance lengths.
            labels: (...) int64 in [0, C), class of each point's instance.

        Returns:
            (..., 3) p_cls, p_start and p_end, in the dtype of ``distance``.
        """
        index, shape = labels.reshape(-1), (*labels.shape, 3)
        mu, sigma = (table.to(distance.dtype).index_select(0, index).view(shape) for table in self.tables())
        return gaussian(distance.unsqueeze(-1), mu, sigma)
