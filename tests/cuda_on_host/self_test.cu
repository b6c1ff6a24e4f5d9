// SPDX-License-Identifier: Apache-2.0
// Kernels that are right and kernels with one mistake each, for tests/kernels/test_cuda_on_host.py.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdio>
#include <exception>
#include <string>

#include "cuda/launch.h"

namespace {

using asl::cuda::dynamic_shared;
using asl::cuda::launch;

constexpr int kThreads = 80;  // two and a half warps

__global__ void reverse(const float* in, float* out) {
    __shared__ float values[kThreads];
    values[threadIdx.x] = in[blockIdx.x * kThreads + threadIdx.x];
    __syncthreads();
    out[blockIdx.x * kThreads + threadIdx.x] = values[kThreads - 1 - threadIdx.x];
}

__global__ void reverse_without_barrier(const float* in, float* out) {
    float* values = dynamic_shared<float>();
    values[threadIdx.x] = in[blockIdx.x * kThreads + threadIdx.x];
    out[blockIdx.x * kThreads + threadIdx.x] = values[kThreads - 1 - threadIdx.x];
}

__global__ void barrier_for_some(const float*, float* out) {
    if (threadIdx.x == 7) return;
    __syncthreads();
    out[threadIdx.x] = 1.0f;
}

__global__ void two_barriers(const float*, float* out) {
    if (threadIdx.x < 32)
        __syncthreads();
    else
        __syncthreads();
    out[threadIdx.x] = 1.0f;
}

__global__ void lane_not_in_mask(const float* in, float* out) {
    out[threadIdx.x] = __shfl_sync(0xFFFFu, in[threadIdx.x], 0);
}

__global__ void two_collectives(const float* in, float* out) {
    const float value = in[threadIdx.x];
    out[threadIdx.x] = threadIdx.x % 2 == 0 ? __shfl_xor_sync(~0u, value, 1) : __shfl_down_sync(~0u, value, 1);
}

__global__ void odd_vector(const float* in, float* out) {
    const float4 four = *reinterpret_cast<const float4*>(in + 1);
    out[threadIdx.x] = four.x;
}

__global__ void beyond_shared(const float* in, float* out) {
    __shared__ float values[4];
    values[(threadIdx.x + 1) % 5] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = values[threadIdx.x % 4];
}

/// Row `operation` of out (operations, kThreads).
__global__ void collectives(const float* in, float* out) {
    const unsigned i = threadIdx.x;
    const float value = in[i];
    const auto put = [&](int operation, float result) { out[operation * kThreads + i] = result; };
    const unsigned warp = i < 64 ? ~0u : 0xFFFFu;  // the last warp is half empty
    put(0, __shfl_up_sync(warp, value, 3));
    put(1, __shfl_down_sync(warp, value, 5, 8));
    put(2, __shfl_xor_sync(warp, value, 9));
    put(3, __shfl_sync(warp, value, 2, 4));
    put(4, static_cast<float>(__popc(__ballot_sync(warp, value > 0.0f))));
    put(5, static_cast<float>(__syncthreads_count(value > 0.0f)));
    put(6, static_cast<float>(__syncthreads_and(value > -100.0f) + 2 * __syncthreads_or(value > 100.0f)));
    float half_sum = 0.0f;
    if (i % 2 == 0) half_sum = static_cast<float>(__reduce_add_sync(warp & 0x55555555u, i));
    put(7, half_sum);
    put(8, __half2float(__float2half(value)));
    put(9, __bfloat162float(__float2bfloat16(value)));
    __shared__ unsigned counter;
    if (i == 0) counter = 0;
    __syncthreads();
    atomicInc(&counter, 6u);
    __syncthreads();
    put(10, static_cast<float>(counter));
}

std::string last;

}  // namespace

/// Runs kernel `which`; returns what went wrong, or an empty text.
extern "C" __attribute__((visibility("default"))) const char* cuda_on_host_self_test(int which, const float* in,
                                                                                     float* out, int blocks,
                                                                                     int shared_bytes) {
    using Kernel = void (*)(const float*, float*);
    const Kernel kernels[] = {reverse,      reverse_without_barrier, barrier_for_some,
                              two_barriers, lane_not_in_mask,        two_collectives,
                              odd_vector,   beyond_shared,           collectives};
    last.clear();
    try {
        launch(kernels[which], static_cast<unsigned>(blocks), kThreads, static_cast<std::size_t>(shared_bytes), nullptr,
               in, out);
        asl::cuda::check_launch("self test");
    } catch (const std::exception& error) {
        last = error.what();
    }
    return last.c_str();
}
