// SPDX-License-Identifier: Apache-2.0
// Finds the __shared__ variables of all kernels, which are the thread-local memory of this module, and nothing else is.
#pragma once

#include <cstddef>

namespace cuda_on_host {

struct Region {
    void* begin;
    std::size_t bytes;
};

/// The calling thread's; the same for as long as it lives.
Region static_shared_memory();

}  // namespace cuda_on_host
