// SPDX-License-Identifier: Apache-2.0
// Launchers of segment IoU and distance IoU. Pointers and the stream are integers, as Python passes them.
#pragma once

#include <cstdint>

#include "common/dtype.h"

namespace asl::cuda {

/// n and m segments an entry; a_batch and b_batch from entry to entry, 0 where all share them. Aligned: one entry.
void segment_iou(View a, View b, std::int64_t n, std::int64_t m, std::int64_t a_batch, std::int64_t b_batch,
                 std::int64_t batch, bool aligned, bool distance, View out, std::uintptr_t stream);

/// Likewise; a gradient without elements is not written.
void segment_iou_backward(View grad, View a, View b, std::int64_t n, std::int64_t m, std::int64_t a_batch,
                          std::int64_t b_batch, std::int64_t batch, bool aligned, bool distance, bool is_double,
                          View grad_a, View grad_b, std::uintptr_t stream);

}  // namespace asl::cuda
