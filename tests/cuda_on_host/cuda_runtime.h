// SPDX-License-Identifier: Apache-2.0
// Stands in for NVIDIA's header of this name, so that csrc/cuda/*.cu compiles for the CPU and its kernels run on host
// memory. Threads are fibers (scheduler.h); a kernel that misuses the machine raises instead of going wrong.
//
// Absent on purpose: __activemask (no meaning without warps), __noinline__ (libstdc++ has an attribute of that name),
// inline PTX, and fast intrinsics that are less exact than the functions they stand for.
#pragma once

#include <cstddef>
#include <cstdint>

// Shared memory is what the kernels' module has as thread-local memory: in one place, where the scheduler finds it and
// fills it with NaN before each block. Dynamic shared memory: asl::cuda::dynamic_shared.
#define __shared__ static thread_local
#define __device__
#define __host__
#define __global__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))

#include "atomics.h"
#include "intrinsics.h"
#include "runtime_api.h"
#include "scheduler.h"
#include "threads.h"
#include "vector_types.h"
