// SPDX-License-Identifier: Apache-2.0
// Runs the blocks of a launch one after the other, and the threads of a block in turns, each until it waits.
//
// The order of blocks, and of the threads between two barriers, is drawn from a seed: the same in every run, and such
// that a kernel that relies on an order it has not asked for shows it. What a real device leaves undefined and would
// mostly forgive (a barrier that some threads never reach, threads that meet at different barriers, a vector load from
// an odd address) fails with the place, block and thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "runtime_api.h"
#include "vector_types.h"

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

namespace cuda_on_host {

/// Where in the source a thread waits.
struct Site {
    const char* what;
    const char* file;
    int line;
};

struct Votes {
    int any, all, count;
};

constexpr std::size_t kSlotBytes = 16;

/// What the lanes of a warp brought to a collective operation.
struct Meeting {
    unsigned lanes = 0;  // that came
    alignas(16) unsigned char slots[32][kSlotBytes];
};

/// Ends the launch with an exception that names block and thread; only from within a kernel.
[[noreturn]] void fail(const std::string& message);

/// Waits for every thread of the block.
Votes block_barrier(const Site& site, bool predicate);

/// Waits for every lane in `mask` that has not left the kernel; what is returned stays until this lane waits again.
const Meeting& warp_meeting(const Site& site, unsigned mask, const void* value, std::size_t bytes);

int lane();
void* dynamic_shared();

void run_grid(const void* kernel, dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& body);

/// One argument of a launch as its kernel gets it.
struct Argument {
    const void* value;
    std::size_t bytes, alignment;
};

/// Tells whoever watches launches of this one; true if it is not to be made.
bool watched(const void* kernel, dim3 grid, dim3 block, std::size_t shared_bytes, const Argument* arguments, int count);

template <class... Params>
void launch(void (*kernel)(Params...), dim3 grid, dim3 block, std::size_t shared_bytes, cudaStream_t, Params... args) {
    const Argument arguments[] = {{&args, sizeof(args), alignof(Params)}...};
    if (watched(reinterpret_cast<const void*>(kernel), grid, block, shared_bytes, arguments, sizeof...(Params))) return;
    run_grid(reinterpret_cast<const void*>(kernel), grid, block, shared_bytes, [&] { kernel(args...); });
}

}  // namespace cuda_on_host
