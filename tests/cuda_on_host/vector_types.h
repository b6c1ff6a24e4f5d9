// SPDX-License-Identifier: Apache-2.0
// CUDA's short vectors with their alignment, which the compiler is told to check at every access.
#pragma once

#define CUDA_ON_HOST_VECTOR(Type, name, align2, align4)                         \
    struct name##1 { Type x; };                                                 \
    struct __attribute__((aligned(align2))) name##2 { Type x, y; };             \
    struct name##3 { Type x, y, z; };                                           \
    struct __attribute__((aligned(align4))) name##4 { Type x, y, z, w; };       \
    inline name##1 make_##name##1(Type x) { return {x}; }                       \
    inline name##2 make_##name##2(Type x, Type y) { return {x, y}; }            \
    inline name##3 make_##name##3(Type x, Type y, Type z) { return {x, y, z}; } \
    inline name##4 make_##name##4(Type x, Type y, Type z, Type w) { return {x, y, z, w}; }

CUDA_ON_HOST_VECTOR(signed char, char, 2, 4)
CUDA_ON_HOST_VECTOR(unsigned char, uchar, 2, 4)
CUDA_ON_HOST_VECTOR(short, short, 4, 8)
CUDA_ON_HOST_VECTOR(unsigned short, ushort, 4, 8)
CUDA_ON_HOST_VECTOR(int, int, 8, 16)
CUDA_ON_HOST_VECTOR(unsigned, uint, 8, 16)
CUDA_ON_HOST_VECTOR(long long, longlong, 16, 16)
CUDA_ON_HOST_VECTOR(unsigned long long, ulonglong, 16, 16)
CUDA_ON_HOST_VECTOR(float, float, 8, 16)
CUDA_ON_HOST_VECTOR(double, double, 16, 16)
#undef CUDA_ON_HOST_VECTOR

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
    constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
};
