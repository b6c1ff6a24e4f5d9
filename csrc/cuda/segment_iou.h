// SPDX-License-Identifier: Apache-2.0
// Launchers of segment IoU and distance IoU. Pointers and the stream are integers, as Python passes them.
#pragma once

#include <cstdint>

#include "common/dtype.h"

namespace asl::cuda {

/// n and m segments an entry; a_batch and b_batch from entry to entry, 0 where all share them. Aligned: one entry.
struct SegmentPairs {
    View a, b;
    std::int64_t n, m, a_batch, b_batch, batch;
    bool aligned, distance;
};

void segment_iou(const SegmentPairs& pairs, View out, std::uintptr_t stream);

/// A gradient without elements is not written.
void segment_iou_backward(const SegmentPairs& pairs, View grad, bool is_double, View grad_a, View grad_b,
                          std::uintptr_t stream);

}  // namespace asl::cuda
