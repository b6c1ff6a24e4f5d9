// SPDX-License-Identifier: Apache-2.0
// __half: conversions only, kernels compute in float.
#pragma once

#include "half_bits.h"
#include "vector_types.h"

struct __half {
    std::uint16_t bits;
    __half() = default;
    __half(float value) : bits(cuda_on_host::to_float16(value)) {}
    operator float() const { return cuda_on_host::from_float16(bits); }
};
struct __attribute__((aligned(4))) __half2 {
    __half x, y;
};
using half = __half;
using half2 = __half2;

inline float __half2float(__half value) { return value; }
inline __half __float2half(float value) { return value; }
inline __half __float2half_rn(float value) { return value; }
inline float2 __half22float2(__half2 pair) { return {pair.x, pair.y}; }
inline __half2 __floats2half2_rn(float x, float y) { return {x, y}; }
inline __half2 __halves2half2(__half x, __half y) { return {x, y}; }
