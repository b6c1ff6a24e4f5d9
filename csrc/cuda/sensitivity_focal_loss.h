// SPDX-License-Identifier: Apache-2.0
// Launcher of the focal loss. Pointers and the stream are integers, as Python passes them.
#pragma once

#include <cstdint>

#include "common/dtype.h"

namespace asl::cuda {

/// Blocks that have work, one a tile.
std::int64_t sensitivity_focal_loss_tiles(std::int64_t rows, std::int64_t classes);

/// Outputs whose address is 0 are not written; `parts` has a place for each block, `counter` is 0.
void sensitivity_focal_loss(View logits, View targets, std::uintptr_t ids, View weights, bool row_weights,
                            std::uintptr_t mask, std::uintptr_t kept, std::int64_t rows, std::int64_t classes,
                            double alpha, double gamma, double label_smoothing, int reduction, std::int64_t blocks,
                            View loss, std::uintptr_t parts, std::uintptr_t counter, View grad_logits,
                            View grad_weights, std::uintptr_t stream);

}  // namespace asl::cuda
