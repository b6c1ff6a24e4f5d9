// SPDX-License-Identifier: Apache-2.0
// A product of two small matrices in registers: the arithmetic of the contrastive loss.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/host_device.h"

namespace asl {

constexpr std::int64_t kTileRows = 4;

template <class Real>
struct Lanes {  // of AVX2: gcc keeps vectors that are wider than the processor's in memory
    typedef Real Type __attribute__((vector_size(32)));
    static constexpr std::int64_t kCount = 32 / static_cast<std::int64_t>(sizeof(Real));
};

template <class Real>
constexpr std::int64_t kTileColumns = 2 * Lanes<Real>::kCount;

/// c (4, 16) += a (4, depth) b (depth, 16), in float64 half as wide; rows `*_stride` elements apart, in order of depth.
template <class Real>
ASL_HOST_DEVICE void multiply_tile(const Real* a, std::int64_t a_stride, const Real* b, std::int64_t b_stride,
                                   std::int64_t depth, Real* c, std::int64_t c_stride) {
    using Vector = typename Lanes<Real>::Type;
    constexpr std::int64_t kLanes = Lanes<Real>::kCount;
    // Each vector is copied by itself, so that the sums stay in registers.
    Vector sum[kTileRows][2];
    for (std::int64_t i = 0; i < kTileRows; ++i)
        for (std::int64_t half = 0; half < 2; ++half)
            std::memcpy(&sum[i][half], c + i * c_stride + half * kLanes, sizeof(Vector));
    for (std::int64_t k = 0; k < depth; ++k) {
        Vector left, right;
        std::memcpy(&left, b + k * b_stride, sizeof(left));
        std::memcpy(&right, b + k * b_stride + kLanes, sizeof(right));
        for (std::int64_t i = 0; i < kTileRows; ++i) {
            const Real factor = a[i * a_stride + k];
            sum[i][0] += factor * left;
            sum[i][1] += factor * right;
        }
    }
    for (std::int64_t i = 0; i < kTileRows; ++i)
        for (std::int64_t half = 0; half < 2; ++half)
            std::memcpy(c + i * c_stride + half * kLanes, &sum[i][half], sizeof(Vector));
}

}  // namespace asl
