// SPDX-License-Identifier: Apache-2.0
// Launchers of segment IoU and distance IoU of the pairs of each video. Pointers and the stream are integers, as Python passes them.
#pragma once

#include <cstdint>

#include "common/dtype.h"

namespace asl::cuda {

/// n, m: segments of all videos; offsets (videos + 1,) int64. Values of float32 or float64, `max_pairs` of them.
void segment_iou_ragged(View a, View b, std::uintptr_t a_offsets, std::uintptr_t b_offsets, std::int64_t n,
                        std::int64_t m, std::int64_t videos, std::int64_t max_pairs, bool distance, View values,
                        std::uintptr_t offsets, std::uintptr_t stream);

/// Likewise, of `max_pairs` gradients; a gradient without elements is not written.
void segment_iou_ragged_backward(View grad, View a, View b, std::uintptr_t a_offsets, std::uintptr_t b_offsets,
                                 std::uintptr_t offsets, std::int64_t n, std::int64_t m, std::int64_t videos,
                                 std::int64_t max_pairs, bool distance, bool is_double, View grad_a, View grad_b,
                                 std::uintptr_t stream);

}  // namespace asl::cuda
