// SPDX-License-Identifier: Apache-2.0
// Segments whose pairs the kernels of IoU compare, in any floating type.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/elements.h"

namespace asl::cuda {

/// (count, 2) starts and ends.
struct Segments {
    Source source;
    std::int64_t count;
};

inline Segments segments_of(View view, std::int64_t count) { return {Source(view), count}; }

template <class Real>
__device__ __forceinline__ Pair<Real> segment(const Segments& from, std::int64_t at) {
    return load_pair<Real>(from.source, at);
}

/// Blocks for so many items.
inline dim3 grid_of(std::int64_t items, std::int64_t per_block) {
    return dim3(static_cast<unsigned>((items + per_block - 1) / per_block));
}

}  // namespace asl::cuda
