// SPDX-License-Identifier: Apache-2.0
// Marks scalar functions that the C++ and the CUDA operators share; inlined into loops cloned for newer processors.
#pragma once

#if defined(__CUDACC__)
#define ASL_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define ASL_HOST_DEVICE inline __attribute__((always_inline))
#endif
