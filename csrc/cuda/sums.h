// SPDX-License-Identifier: Apache-2.0
// Sums over a block and over a launch, in an order that depends on the sizes alone.
#pragma once

#include <cuda_runtime.h>

namespace asl::cuda {

/// Sum over the lanes of a full warp, in every lane.
template <class Real>
__device__ __forceinline__ Real warp_sum(Real value) {
    for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(~0u, value, offset);
    return value;
}

/// Sum over a block of kThreads, in thread 0. All threads call it; `scratch` has one place a warp.
template <int kThreads, class Real>
__device__ __forceinline__ Real block_sum(Real value, Real* scratch) {
    static_assert(kThreads % 32 == 0, "whole warps");
    value = warp_sum(value);
    __syncthreads();  // a former sum may still be read
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
    __syncthreads();
    Real total = 0;
    if (threadIdx.x == 0)
        for (int warp = 0; warp < kThreads / 32; ++warp) total += scratch[warp];
    return total;
}

/// `total` = sum over all blocks of a value of each thread, written by the block that comes last.
///
/// `parts` has one place a block; `counter` is 0 before the launch and after it. The last act of every thread.
template <int kThreads, class Real>
__device__ void grid_sum(Real value, Real* parts, unsigned* counter, Real* total) {
    __shared__ Real scratch[kThreads / 32];
    __shared__ bool last;
    const Real own = block_sum<kThreads>(value, scratch);
    if (threadIdx.x == 0) {
        parts[blockIdx.x] = own;
        __threadfence();
        last = atomicAdd(counter, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (!last) return;
    __threadfence();
    Real sum = 0;
    for (unsigned block = threadIdx.x; block < gridDim.x; block += kThreads) sum += __ldcg(parts + block);
    sum = block_sum<kThreads>(sum, scratch);
    if (threadIdx.x == 0) {
        *total = sum;
        *counter = 0;
    }
}

}  // namespace asl::cuda
