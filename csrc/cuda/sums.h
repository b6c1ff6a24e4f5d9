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

/// Whether this block is the last of so many to come here. What threads of the others wrote before may then be read, by
/// __ldcg. All threads call it; `counter` is 0 before the launch and after it.
__device__ __forceinline__ bool comes_last(unsigned* counter, unsigned blocks) {
    __shared__ bool last;
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();  // covers what the barrier made visible to this thread, too
        last = atomicAdd(counter, 1u) == blocks - 1;
        if (last) *counter = 0;
    }
    __syncthreads();
    if (last) __threadfence();
    return last;
}

/// `total` = sum over all blocks of a value of each thread, written by the block that comes last.
///
/// `parts` has one place a block; `counter` is 0 before the launch and after it. The last act of every thread.
template <int kThreads, class Real>
__device__ void grid_sum(Real value, Real* parts, unsigned* counter, Real* total) {
    __shared__ Real scratch[kThreads / 32];
    const Real own = block_sum<kThreads>(value, scratch);
    if (threadIdx.x == 0) parts[blockIdx.x] = own;
    if (!comes_last(counter, gridDim.x)) return;
    Real sum = 0;
    for (unsigned block = threadIdx.x; block < gridDim.x; block += kThreads) sum += __ldcg(parts + block);
    sum = block_sum<kThreads>(sum, scratch);
    if (threadIdx.x == 0) *total = sum;
}

}  // namespace asl::cuda
