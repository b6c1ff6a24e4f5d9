// SPDX-License-Identifier: Apache-2.0
// float16 and bfloat16 as bits, to and from float, rounding to the nearest and ties to even.
#pragma once

#include <cstdint>

#include "intrinsics.h"

namespace cuda_on_host {

inline float from_bfloat16(std::uint16_t bits) { return bits_as<float>(static_cast<std::uint32_t>(bits) << 16); }

inline std::uint16_t to_bfloat16(float value) {
    if (std::isnan(value)) return 0x7FFF;
    const auto bits = bits_as<std::uint32_t>(value);
    return static_cast<std::uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

inline float from_float16(std::uint16_t bits) {
    const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    float size = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                               : std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
    if (exponent == 31) size = mantissa != 0 ? NAN : INFINITY;
    return bits >> 15 ? -size : size;
}

inline std::uint16_t to_float16(float value) {
    if (std::isnan(value)) return 0x7FFF;
    const std::uint16_t sign = std::signbit(value) ? 0x8000u : 0u;
    const float size = std::fabs(value);
    if (size >= 65520.0f) return static_cast<std::uint16_t>(sign | 0x7C00u);
    if (size == 0.0f) return sign;
    int power;
    std::frexp(size, &power);  // size = [0.5, 1) * 2^power
    const int unit = std::max(power - 11, -24);
    const long steps = std::lrintf(std::ldexp(size, -unit));  // of 2^unit; 1024 to 2048 unless subnormal
    return static_cast<std::uint16_t>(sign | (unit == -24 ? steps : (static_cast<long>(unit + 24) << 10) + steps));
}

}  // namespace cuda_on_host
