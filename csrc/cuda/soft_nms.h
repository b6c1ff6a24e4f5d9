// SPDX-License-Identifier: Apache-2.0
// Launchers of soft-NMS. Pointers and the stream are integers, as Python passes them.
#pragma once

#include <cstdint>

#include "common/soft_nms.h"

namespace asl::cuda {

/// What both launches of soft-NMS take, as in NmsCandidates and NmsSelected of csrc/cuda/soft_nms_select.cuh.
struct NmsBuffers {
    std::uintptr_t segments, scores, labels, rows, starts;  // candidates in order
    std::uintptr_t positions, decayed, counts;              // selections
    std::int64_t count, videos;
};

/// Selects; `counts` must be 0 before. Scratch: current (N,) float32, best (N,) int64, seen (N,) int32.
/// Each of the blocks takes one video after the other.
void soft_nms_select(const NmsBuffers& buffers, std::uintptr_t current, std::uintptr_t best, std::uintptr_t seen,
                     const NmsOptions& options, std::int64_t blocks, std::uintptr_t stream);

/// Gathers the selections and lets them be voted on; `ends`: sums of `counts` up to and with each video.
void soft_nms_collect(const NmsBuffers& buffers, std::uintptr_t ends, const NmsOptions& options, std::int64_t rows,
                      std::uintptr_t indices, std::uintptr_t segments, std::uintptr_t scores, std::uintptr_t count,
                      std::uintptr_t stream);

}  // namespace asl::cuda
