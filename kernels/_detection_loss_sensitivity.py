# SPDX-License-Identifier: Apache-2.0
"""The class-level Gaussians from their raw parameters, as the kernels of the losses evaluate them.

FORM is the tuple (mu_init of cls, start, end, mu_scale, sigma_init, sigma_scale below, sigma_scale above).
"""

import triton
import triton.language as tl

from ._maths import arc_tangent


@triton.jit
def gaussian_at(
    raw_mu_ptr, raw_sigma_ptr, label, known, COLUMN: tl.constexpr, FORM: tl.constexpr, COMPUTE: tl.constexpr
):  # fmt: skip
    """Return mu and sigma of a class (column 0 cls, 1 start, 2 end), and their slopes in the raw parameters."""
    WIDE: tl.constexpr = tl.float64 == COMPUTE
    raw = tl.load(raw_mu_ptr + label * 3 + COLUMN, mask=known, other=0.0).to(COMPUTE) / FORM[3]
    mu = FORM[COLUMN] + FORM[3] * arc_tangent(raw, WIDE)
    slope_mu = 1.0 / (1.0 + raw * raw)
    raw = tl.load(raw_sigma_ptr + label * 3 + COLUMN, mask=known, other=0.0).to(COMPUTE)
    scale = tl.where(raw < 0, FORM[5], FORM[6]).to(COMPUTE)
    raw = raw / scale
    sigma = FORM[4] * tl.exp(scale * arc_tangent(raw, WIDE))
    return mu, sigma, slope_mu, sigma / (1.0 + raw * raw)


@triton.jit
def profile(
    distance, raw_mu_ptr, raw_sigma_ptr, label, known, COLUMN: tl.constexpr, FORM: tl.constexpr, COMPUTE: tl.constexpr
):  # fmt: skip
    """Return exp(-(d - mu)² / (2 sigma²)) at the class of each point."""
    mu, sigma, _, _ = gaussian_at(raw_mu_ptr, raw_sigma_ptr, label, known, COLUMN, FORM, COMPUTE)
    away = (distance - mu) / sigma
    return tl.exp(-0.5 * away * away)
