// SPDX-License-Identifier: Apache-2.0
// What csrc/cuda/<op>.cu defines and csrc/cuda/module_cuda.cpp binds. Pointers and the stream are integers, as Python
// passes them. The two never meet in one file: nvcc takes ten times as long over a file that includes pybind11.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "common/dtype.h"

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

/// Blocks that have work, one a tile.
std::int64_t sensitivity_focal_loss_tiles(std::int64_t rows, std::int64_t classes);

/// Outputs whose address is 0 are not written; `parts` has a place for each block, `counter` is 0.
void sensitivity_focal_loss(View logits, View targets, std::uintptr_t ids, View weights, bool row_weights,
                            std::uintptr_t mask, std::uintptr_t kept, std::int64_t rows, std::int64_t classes,
                            double alpha, double gamma, double label_smoothing, int reduction, std::int64_t blocks,
                            View loss, std::uintptr_t parts, std::uintptr_t counter, View grad_logits,
                            View grad_weights, std::uintptr_t stream);

/// Likewise.
void diou_loss(View pred, View target, View weights, std::int64_t rows, int reduction, double eps, std::int64_t blocks,
               View loss, std::uintptr_t parts, std::uintptr_t counter, View grad_pred, View grad_target,
               View grad_weights, std::uintptr_t stream);

}  // namespace asl::cuda
