// SPDX-License-Identifier: Apache-2.0
// What a call of the contrastive loss works on, on the CPU and on a GPU alike.
#pragma once

#include <cstdint>

#include "common/dtype.h"

namespace asl {

/// Addresses of contiguous tensors, as the op takes and returns them; segments, mu, sigma, vectors, stats and anchors
/// are of the type that it computes in: double where the features are, else float.
struct ContrastiveBuffers {
    View features;                                                    // (batch, frames, channels)
    std::uintptr_t mask, segments, labels, video_offsets, mu, sigma;  // operands
    std::uintptr_t vectors, stats, ranges, anchors;                   // what the forward pass leaves for the backward
    std::int64_t batch, frames, channels, count, classes;
};

}  // namespace asl
