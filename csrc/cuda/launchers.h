// SPDX-License-Identifier: Apache-2.0
// What csrc/cuda/<op>.cu defines and csrc/cuda/module_cuda.cpp binds. Pointers and the stream are integers, as Python
// passes them. The two never meet in one file: nvcc takes ten times as long over a file that includes pybind11.
#pragma once

#include <cstddef>
#include <cstdint>
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

// void <op>(std::uintptr_t input, std::uintptr_t output, std::int64_t count, std::uintptr_t stream);

}  // namespace asl::cuda
