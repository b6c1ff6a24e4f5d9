# SPDX-License-Identifier: Apache-2.0
"""Device functions that several kernels use."""

import torch
import triton
import triton.language as tl

from . import _launch


@triton.jit
def quotient(a, length, APPROXIMATE: tl.constexpr):
    """Return a / length, and 0 where the length is 0, as ``a`` must be there; NaN gives NaN.

    If APPROXIMATE, to two units in the last place in a quarter of the work, for lengths from 1e-31 to 2^126: the least
    normal number, which is added, is lost in them. Triton's own division of float32 is as precise, and spends most of
    its instructions on other numbers.
    """
    if APPROXIMATE:
        inverse = tl.inline_asm_elementwise(
            "rcp.approx.ftz.f32 $0, $1;",
            "=f,f",
            [length + 1.1754943508222875e-38],
            dtype=tl.float32,
            is_pure=True,
            pack=1,
        )
        return a * inverse
    return a / tl.where(length <= 0, 1.0, length)


@triton.jit
def inverse_of_sum(e, APPROXIMATE: tl.constexpr):
    """Return 1 / (1 + e) for e in [0, 1]; if APPROXIMATE, to one unit in the last place, in a sixth of the work."""
    if APPROXIMATE:
        return tl.inline_asm_elementwise(
            "rcp.approx.ftz.f32 $0, $1;", "=f,f", [e + 1.0], dtype=tl.float32, is_pure=True, pack=1
        )
    else:
        return 1.0 / (1.0 + e)


def can_approximate(dtype: torch.dtype) -> bool:
    """Tell whether :func:`quotient` and :func:`inverse_of_sum` can approximate: float32, NVIDIA's instruction."""
    return dtype == torch.float32 and not _launch.is_hip() and not _launch.INTERPRETED


@triton.jit
def exp_of_minus(x, WIDE: tl.constexpr):
    """Return exp(-x); in single precision without an instruction for the sign, as exp2 multiplies anyway."""
    return tl.exp(-x) if WIDE else tl.exp2(x * -1.4426950408889634)


@triton.jit
def log1p_unit(e, WIDE: tl.constexpr):
    """Return log(1 + e) for e in [0, 1] to full relative precision.

    Log itself loses the digits of a small e, and the hardware's logarithm has an absolute error near 1. In double
    precision 2 artanh(e / (2 + e)) by its series, at most 1/9 per term; in single precision the polynomial of
    csrc/common/elementary.h, which needs no division.
    """
    if WIDE:
        s = e / (e + 2.0)
        square = s * s
        series = square * 0.0 + 1.0 / 31
        for i in tl.static_range(1, 16):
            series = series * square + 1.0 / (2 * (16 - i) - 1)
        return 2.0 * s * series
    # log(1 + e) / e around the middle of the interval: minimax, relative error 5e-9.
    u = e - 0.5
    ratio = u * -3.24402517e-3 + 5.25334897e-3
    ratio = ratio * u - 6.74991123e-3
    ratio = ratio * u + 1.15761515e-2
    ratio = ratio * u - 2.05702949e-2
    ratio = ratio * u + 3.66354734e-2
    ratio = ratio * u - 6.76876977e-2
    ratio = ratio * u + 1.32609010e-1
    ratio = ratio * u - 2.88527101e-1
    ratio = ratio * u + 8.10930192e-1
    return e * ratio


@triton.jit
def arc_tangent(x, WIDE: tl.constexpr):
    """Return atan(x), which Triton's portable functions lack, to 3e-7 of it, or to 1e-15 in double precision.

    The argument is brought near 0, by atan(t) = pi/4 + atan((t - 1) / (t + 1)) and pi/2 - atan(1 / t), or, where WIDE,
    by half angles; what is left is a polynomial.
    """
    size = tl.abs(x)
    if WIDE:
        reflected = size > 1.0
        t = tl.where(reflected, 1.0 / tl.where(reflected, size, 1.0), size)
        for _ in tl.static_range(3):
            t = t / (1.0 + tl.sqrt(1.0 + t * t))
        square = t * t
        series = square * 0.0 + 1.0 / 17
        for i in tl.static_range(1, 9):
            series = 1.0 / (2 * (9 - i) - 1) - series * square
        angle = t * series * 8
        angle = tl.where(reflected, 1.5707963267948966 - angle, angle)
    else:
        beyond, middle = size > 2.4142135, size > 0.41421356  # tan of 3 pi / 8 and of pi / 8
        above = tl.where(beyond, -1.0, tl.where(middle, size - 1.0, size))
        below = tl.where(beyond, size, tl.where(middle, size + 1.0, 1.0))
        t = above / below
        square = t * t
        # (atan(t) / t - 1) / t² by least squares in the relative error, at most 7e-10.
        series = square * -0.060834531 + 0.10596001
        series = series * square - 0.14243849
        series = series * square + 0.19998489
        series = series * square - 0.33333316
        angle = tl.where(beyond, 1.5707963, tl.where(middle, 0.78539816, 0.0)) + (t + t * (square * series))
    return tl.where(x < 0, -angle, angle)


@triton.jit
def minimum(a, b):
    """Return the smaller, or NaN if either is, as torch.minimum."""
    return tl.minimum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def maximum(a, b):
    """Return the larger, or NaN if either is, as torch.maximum."""
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def share(larger, smaller):
    """Return d max(larger, smaller) / d larger: 1, 0, or a half at a tie."""
    return tl.where(larger == smaller, 0.5, tl.where(larger > smaller, 1.0, 0.0))


@triton.jit
def rows_apart(first, BLOCK: tl.constexpr):
    """Return the BLOCK rows from ``first`` on, in the layout that pairs have: neighbouring rows in neighbouring lanes.

    Left alone, the compiler gives several rows to a lane wherever one number a row is read, and then moves them
    through shared memory to where the pairs are.
    """
    return first + tl.max_contiguous(tl.arange(0, BLOCK), [1])


@triton.jit
def load_pairs(ptr, row, inside, COMPUTE: tl.constexpr):
    """Load both columns of the rows of a contiguous (N, 2) array at once, from neighbouring addresses."""
    at = row[:, None] * 2 + tl.arange(0, 2)[None, :]
    return tl.split(tl.load(ptr + at, mask=inside[:, None], other=0.0).to(COMPUTE))


@triton.jit
def store_pairs(ptr, row, first, second, inside):
    """Store both columns, the counterpart of :func:`load_pairs`."""
    at = row[:, None] * 2 + tl.arange(0, 2)[None, :]
    tl.store(ptr + at, tl.join(first, second), mask=inside[:, None])
