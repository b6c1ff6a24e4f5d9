// SPDX-License-Identifier: Apache-2.0
// What devices there are.
#pragma once

#include <cstddef>

namespace asl::cuda {

struct Device {
    char name[256];
    int major;
    int minor;
    std::size_t memory_bytes;
    int multiprocessors;
};

/// Version of the CUDA runtime linked in, as 1000 * major + 10 * minor.
int runtime_version();

/// Devices the runtime sees; 0, not an exception, where there is no driver.
int device_count();

/// Why device_count() is 0, in the runtime's words; empty where a device is found.
const char* device_error();

/// The device of this index, below device_count().
Device device(int index);

}  // namespace asl::cuda
