# SPDX-License-Identifier: Apache-2.0
"""What ``detection_loss`` writes beside its points: losses and factors by the last program, tables by all of them."""

import triton
import triton.language as tl

from ._detection_loss_sensitivity import gaussian_at


@triton.jit
def finalise(
    parts_ptr, programs, normalizer_ptr, total_ptr, cls_ptr, loc_ptr, sensitivity_ptr, num_positives_ptr, updated_ptr,
    factors_ptr, CLS_SCALED: tl.constexpr, LOC_SCALED: tl.constexpr, MOMENTUM: tl.constexpr,
    LOCATION_WEIGHT: tl.constexpr, TINY: tl.constexpr, COMPUTE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Add up the programs' sums and write losses, normaliser and factors; read past the cache of this processor."""
    lane = tl.arange(0, BLOCK)
    count = tl.zeros((BLOCK,), COMPUTE)
    h_cls, h_loc, cls, loc, background, error = count, count, count, count, count, count
    for at in range(0, programs, BLOCK):
        within = at + lane < programs
        here = parts_ptr + at + lane
        count += tl.load(here, mask=within, other=0.0, cache_modifier=".cg")
        h_cls += tl.load(here + programs, mask=within, other=0.0, cache_modifier=".cg")
        h_loc += tl.load(here + 2 * programs, mask=within, other=0.0, cache_modifier=".cg")
        cls += tl.load(here + 3 * programs, mask=within, other=0.0, cache_modifier=".cg")
        loc += tl.load(here + 4 * programs, mask=within, other=0.0, cache_modifier=".cg")
        background += tl.load(here + 5 * programs, mask=within, other=0.0, cache_modifier=".cg")
        error += tl.load(here + 6 * programs, mask=within, other=0.0, cache_modifier=".cg")
    n = tl.sum(count, 0)
    some = tl.maximum(n, 1.0)
    before = tl.load(normalizer_ptr).to(COMPUTE)
    updated = (MOMENTUM * before + (1.0 - MOMENTUM) * some).to(updated_ptr.dtype.element_ty)
    share = 1.0 / updated.to(COMPUTE)
    sum_cls, sum_loc = tl.sum(cls, 0), tl.sum(loc, 0)
    scale_cls, scale_loc, mean_cls, mean_loc = n * 0.0 + 1.0, n * 0.0 + 1.0, n * 0.0, n * 0.0
    if CLS_SCALED:
        divisor = tl.maximum(tl.sum(h_cls, 0), TINY)
        scale_cls, mean_cls = n / divisor, sum_cls / divisor
    if LOC_SCALED:
        divisor = tl.maximum(tl.sum(h_loc, 0), TINY)
        scale_loc, mean_loc = n / divisor, sum_loc / divisor
    loss_cls = (scale_cls * sum_cls + tl.sum(background, 0)) * share
    loss_loc = scale_loc * sum_loc * share
    sensitivity = tl.sum(error, 0) / some
    balance = n * 0.0 + LOCATION_WEIGHT if LOCATION_WEIGHT > 0 else loss_cls / tl.maximum(loss_loc, 0.01)
    tl.store(total_ptr, loss_cls + balance * loss_loc + sensitivity)
    tl.store(cls_ptr, loss_cls)
    tl.store(loc_ptr, loss_loc)
    tl.store(sensitivity_ptr, sensitivity)
    tl.store(num_positives_ptr, n.to(tl.int64))
    tl.store(updated_ptr, updated)
    tl.store(factors_ptr, scale_cls * share)
    tl.store(factors_ptr + 1, share)
    tl.store(factors_ptr + 2, scale_loc * share)
    tl.store(factors_ptr + 3, 1.0 / some)
    tl.store(factors_ptr + 4, balance)
    tl.store(factors_ptr + 5, mean_cls)
    tl.store(factors_ptr + 6, mean_loc)


@triton.jit
def write_tables(
    raw_mu_ptr, raw_sigma_ptr, mu_ptr, sigma_ptr, segments_ptr, points_ptr, segments_finest_ptr, num_classes,
    num_segments, FORM: tl.constexpr, ASSIGN: tl.constexpr, COMPUTE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write mu and sigma of every class, and segments in frames of the first point's level, divided among programs."""
    first, step = tl.program_id(0) * BLOCK, tl.num_programs(0) * BLOCK
    for at in range(first, num_classes, step):
        row = at + tl.arange(0, BLOCK)
        inside = row < num_classes
        # All are read before any is written, so that they are on their way together.
        mu_0, sigma_0, _, _ = gaussian_at(raw_mu_ptr, raw_sigma_ptr, row, inside, 0, FORM, COMPUTE)
        mu_1, sigma_1, _, _ = gaussian_at(raw_mu_ptr, raw_sigma_ptr, row, inside, 1, FORM, COMPUTE)
        mu_2, sigma_2, _, _ = gaussian_at(raw_mu_ptr, raw_sigma_ptr, row, inside, 2, FORM, COMPUTE)
        tl.store(mu_ptr + row * 3, mu_0, mask=inside)
        tl.store(mu_ptr + row * 3 + 1, mu_1, mask=inside)
        tl.store(mu_ptr + row * 3 + 2, mu_2, mask=inside)
        tl.store(sigma_ptr + row * 3, sigma_0, mask=inside)
        tl.store(sigma_ptr + row * 3 + 1, sigma_1, mask=inside)
        tl.store(sigma_ptr + row * 3 + 2, sigma_2, mask=inside)
    frame = tl.load(points_ptr + 3).to(ASSIGN)
    for at in range(first, num_segments * 2, step):
        entry = at + tl.arange(0, BLOCK)
        inside = entry < num_segments * 2
        grid = tl.load(segments_ptr + entry, mask=inside, other=0.0).to(ASSIGN)
        tl.store(segments_finest_ptr + entry, grid / frame, mask=inside)
