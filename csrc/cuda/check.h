// SPDX-License-Identifier: Apache-2.0
// Turns a CUDA status into an exception that names the call.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/errors.h"

namespace asl::cuda {

/// Throws std::runtime_error naming `what` unless `status` is cudaSuccess. Never synchronises.
inline void check(cudaError_t status, const char* what) {
    if (status != cudaSuccess) call_failed(what, cudaGetErrorString(status));
}

/// Checks the launch that was just made (bad grid, missing image), without waiting for the kernel to run.
inline void check_launch(const char* kernel) { check(cudaGetLastError(), kernel); }

/// Python passes torch.cuda.current_stream().cuda_stream as an integer.
inline cudaStream_t as_stream(std::uintptr_t stream) { return reinterpret_cast<cudaStream_t>(stream); }

}  // namespace asl::cuda
