// SPDX-License-Identifier: Apache-2.0
// Launchers of segment IoU and distance IoU of the pairs of each video. Pointers and the stream are integers, as Python
// passes them.
#pragma once

#include <cstdint>

#include "common/dtype.h"

namespace asl::cuda {

/// n, m: segments of all videos; video offsets (videos + 1,) int64; room for `max_pairs` values or gradients.
struct RaggedPairs {
    View a, b;
    std::uintptr_t a_video_offsets, b_video_offsets;
    std::int64_t n, m, videos, max_pairs;
    bool distance;
};

/// Values of float32 or float64; pair_offsets (videos + 1,) int64.
void segment_iou_ragged(const RaggedPairs& pairs, View values, std::uintptr_t pair_offsets, std::uintptr_t stream);

/// A gradient without elements is not written; `pair_offsets` are those of the forward pass.
void segment_iou_ragged_backward(const RaggedPairs& pairs, View grad, std::uintptr_t pair_offsets, bool is_double,
                                 View grad_a, View grad_b, std::uintptr_t stream);

}  // namespace asl::cuda
