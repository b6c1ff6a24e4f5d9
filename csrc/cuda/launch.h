// SPDX-License-Identifier: Apache-2.0
// How a kernel is started and how it reaches its dynamic shared memory: the two things that are not plain C++, so that
// the kernels also compile for the CPU (tests/cuda_on_host).
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "cuda/check.h"

namespace asl::cuda {

/// Starts `kernel` on `stream`; the arguments are converted to its parameters. Follow it with check_launch.
///
/// Limits: 2^31 - 1 blocks in x, 65535 in y and z, 1024 threads a block. No block at all is an error.
template <class... Params, class... Args>
void launch(void (*kernel)(Params...), dim3 grid, dim3 block, std::size_t shared_bytes, cudaStream_t stream,
            Args&&... args) {
#if defined(__CUDACC__)
    kernel<<<grid, block, shared_bytes, stream>>>(static_cast<Params>(args)...);
#else
    cuda_on_host::launch(kernel, grid, block, shared_bytes, stream, static_cast<Params>(args)...);
#endif
}

/// Lets `kernel` have more than the 48 KiB of dynamic shared memory that every device gives unasked.
template <class... Params>
void allow_shared(void (*kernel)(Params...), std::size_t bytes) {
    if (bytes <= 48 * 1024) return;
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
          "cudaFuncSetAttribute (dynamic shared memory)");
}

/// The dynamic shared memory of this block, aligned to 16 bytes.
template <class T>
__device__ __forceinline__ T* dynamic_shared() {
#if defined(__CUDACC__)
    extern __shared__ __align__(16) unsigned char asl_dynamic_shared[];
    return reinterpret_cast<T*>(asl_dynamic_shared);
#else
    return static_cast<T*>(cuda_on_host::dynamic_shared());
#endif
}

}  // namespace asl::cuda
