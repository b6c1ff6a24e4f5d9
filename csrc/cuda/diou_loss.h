// SPDX-License-Identifier: Apache-2.0
// Launcher of the DIoU loss. Pointers and the stream are integers, as Python passes them.
#pragma once

#include <cstdint>

#include "common/dtype.h"

namespace asl::cuda {

/// Outputs whose address is 0 are not written; `parts` has a place for each block, `counter` is 0.
void diou_loss(View pred, View target, View weights, std::int64_t rows, int reduction, double eps, std::int64_t blocks,
               View loss, std::uintptr_t parts, std::uintptr_t counter, View grad_pred, View grad_target,
               View grad_weights, std::uintptr_t stream);

}  // namespace asl::cuda
