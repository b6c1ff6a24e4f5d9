// SPDX-License-Identifier: Apache-2.0
// Elementary functions without branches or calls, so that a loop over them becomes vector instructions. Every clone of
// such a loop gives the same bits. In double, and for the exponential on a GPU, the maths library does the work.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "common/host_device.h"

namespace asl {

/// The least number above 0 of full precision. A constant, because device code may not call the function behind it.
template <class Real>
constexpr Real kLeastNormal = std::numeric_limits<Real>::min();

template <class To, class From>
ASL_HOST_DEVICE To same_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "bits are copied, not converted");
    To to;
    std::memcpy(&to, &from, sizeof(to));
    return to;
}

/// a * b, rounded before anything is added to it; nvcc would otherwise contract the two operations.
ASL_HOST_DEVICE float product(float a, float b) {
#if defined(__CUDA_ARCH__)
    return __fmul_rn(a, b);
#else
    return a * b;
#endif
}

ASL_HOST_DEVICE double product(double a, double b) {
#if defined(__CUDA_ARCH__)
    return __dmul_rn(a, b);
#else
    return a * b;
#endif
}

/// e^x for x <= 0, to 1.5 units in the last place; underflows gradually, NaN gives NaN.
ASL_HOST_DEVICE float exp_nonpositive(float x) {
#if defined(__CUDA_ARCH__)
    return expf(x);
#else
    const float bounded = x < -104.0f ? -104.0f : x;  // e^-104 rounds to 0
    // Adding 1.5 * 2^23 rounds to an integer n, which then stands in the low bits: x = n ln 2 + r.
    const float shifter = 12582912.0f;
    const float shifted = bounded * 1.44269504f + shifter;
    const float n = shifted - shifter;
    const auto power = static_cast<std::int32_t>(same_bits<std::uint32_t>(shifted) - same_bits<std::uint32_t>(shifter));
    const float r = (bounded - n * 0.693359375f) - n * -2.12194440e-4f;  // the first product is exact
    // Minimax over |r| <= ln 2 / 2, relative error 3e-9; in pairs, because a chain of operations would wait for itself.
    const float square = r * r;
    const float low = 4.99999940e-1f + 1.66665211e-1f * r, high = 4.16683890e-2f + 8.36874545e-3f * r;
    const float p = low + square * (high + square * 1.38145406e-3f);
    const float mantissa = 1.0f + (r + square * p);
    // 2^n in two factors that are both normal numbers: only the last product can round to a subnormal one.
    const std::int32_t half = power >> 1;
    const float first = same_bits<float>(static_cast<std::uint32_t>(half + 127) << 23);
    const float second = same_bits<float>(static_cast<std::uint32_t>(power - half + 127) << 23);
    return (mantissa * first) * second;
#endif
}

ASL_HOST_DEVICE double exp_nonpositive(double x) { return std::exp(x); }

/// log(1 + e) for e in [0, 1], to 2 units in the last place also where e is tiny.
ASL_HOST_DEVICE float log1p_unit(float e) {
    // log(1 + e) / e around the middle of the interval: minimax, relative error 5e-9; even and odd powers apart.
    const float u = e - 0.5f, square = u * u;
    float even = 5.25334897e-3f, odd = -3.24402517e-3f;
    even = even * square + 1.15761515e-2f;
    odd = odd * square - 6.74991123e-3f;
    even = even * square + 3.66354734e-2f;
    odd = odd * square - 2.05702949e-2f;
    even = even * square + 1.32609010e-1f;
    odd = odd * square - 6.76876977e-2f;
    even = even * square + 8.10930192e-1f;
    odd = odd * square - 2.88527101e-1f;
    return e * (even + odd * u);
}

ASL_HOST_DEVICE double log1p_unit(double e) { return std::log1p(e); }

/// 1 / b for b in [2^-126, 2^126]. On a GPU, whose division branches, to one unit in the last place.
ASL_HOST_DEVICE float reciprocal(float b) {
#if defined(__CUDA_ARCH__)
    float found;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(found) : "f"(b));
    return found;
#else
    return 1.0f / b;
#endif
}

ASL_HOST_DEVICE double reciprocal(double b) { return 1.0 / b; }

/// a / b for b in [2^-126, 2^126], or NaN. On a GPU to two units in the last place, in three instructions of some ten.
ASL_HOST_DEVICE float quotient(float a, float b) {
#if defined(__CUDA_ARCH__)
    return a * reciprocal(b);
#else
    return a / b;
#endif
}

ASL_HOST_DEVICE double quotient(double a, double b) { return a / b; }

/// a / b for 0 <= a <= b <= 2, and 0 where b is 0. On a GPU to two units in the last place, and too small where b is
/// below 2^-126.
ASL_HOST_DEVICE float share(float a, float b) {
#if defined(__CUDA_ARCH__)
    return a * reciprocal(fmaxf(b, kLeastNormal<float>));
#else
    return a / (b == 0.0f ? 1.0f : b);
#endif
}

ASL_HOST_DEVICE double share(double a, double b) { return a / (b == 0.0 ? 1.0 : b); }

}  // namespace asl
