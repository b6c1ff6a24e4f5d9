// SPDX-License-Identifier: Apache-2.0
// What devices there are.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace asl::cuda {

struct Device {
    std::string name;
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
std::string device_error();

/// Every device, in the runtime's order.
std::vector<Device> devices();

}  // namespace asl::cuda
