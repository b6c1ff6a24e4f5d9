// SPDX-License-Identifier: Apache-2.0
// Launcher of the point assignment. Pointers and the stream are integers, as Python passes them.
#pragma once

#include <cstdint>

#include "common/dtype.h"

namespace asl::cuda {

/// A radius of 0 lets the whole segment claim; points and segments of any floating type.
void assign_points(View points, View segments, std::uintptr_t labels, std::uintptr_t video_offsets,
                   std::int64_t num_points, std::int64_t videos, std::int64_t classes, double radius,
                   double tie_tolerance, bool is_double, std::uintptr_t class_targets, std::uintptr_t offsets,
                   std::uintptr_t instance, std::uintptr_t distance, std::uintptr_t stream);

}  // namespace asl::cuda
