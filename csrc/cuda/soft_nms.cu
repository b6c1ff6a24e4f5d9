// SPDX-License-Identifier: Apache-2.0
// Temporal soft-NMS over many videos in two calls; the wrapper sorts before and sums the counts between them.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "cuda/check.h"
#include "cuda/launch.h"
#include "cuda/soft_nms.h"
#include "cuda/soft_nms_collect.cuh"
#include "cuda/soft_nms_select.cuh"

namespace asl::cuda {
namespace {

constexpr std::int64_t kVoteBlocks = 2048;  // fill the device, which alone knows the number of rows

template <class T>
T* pointer(std::uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

NmsCandidates candidates_of(const NmsBuffers& buffers) {
    if (buffers.count > std::numeric_limits<int>::max() - kNmsThreads)
        refuse_argument("soft_nms: more than 2^31 candidates in one call; split it by videos");
    return {pointer<const float>(buffers.segments),
            pointer<const float>(buffers.scores),
            pointer<const std::int64_t>(buffers.labels),
            pointer<const std::int64_t>(buffers.rows),
            pointer<const std::int64_t>(buffers.starts),
            static_cast<int>(buffers.count),
            static_cast<int>(buffers.videos)};
}

NmsSelected selected_of(const NmsBuffers& buffers) {
    return {pointer<int>(buffers.positions), pointer<float>(buffers.decayed), pointer<std::int64_t>(buffers.counts)};
}

}  // namespace

void soft_nms_select(const NmsBuffers& buffers, std::uintptr_t current, std::uintptr_t best, std::uintptr_t seen,
                     const NmsOptions& options, std::int64_t blocks, std::uintptr_t stream) {
    const NmsScratch scratch{pointer<float>(current), pointer<std::uint64_t>(best), pointer<int>(seen)};
    launch(nms_select, static_cast<unsigned>(blocks), kNmsThreads, 0, as_stream(stream), candidates_of(buffers),
           scratch, selected_of(buffers), options);
    check_launch("soft_nms_select");
}

void soft_nms_collect(const NmsBuffers& buffers, std::uintptr_t ends, const NmsOptions& options, std::int64_t rows,
                      std::uintptr_t indices, std::uintptr_t segments, std::uintptr_t scores, std::uintptr_t count,
                      std::uintptr_t stream) {
    const NmsResult result{pointer<std::int64_t>(indices), pointer<float>(segments), pointer<float>(scores),
                           pointer<std::int64_t>(count), static_cast<int>(rows)};
    const auto* const sums = pointer<const std::int64_t>(ends);
    const std::int64_t blocks = (rows + kCollectThreads - 1) / kCollectThreads;
    launch(nms_collect, static_cast<unsigned>(blocks), kCollectThreads, 0, as_stream(stream), candidates_of(buffers),
           selected_of(buffers), sums, result);
    check_launch("soft_nms_collect");
    if (!(options.voting_threshold > 0.0f)) return;
    const std::int64_t rows_per_block = kCollectThreads / 32;
    const auto voting = static_cast<unsigned>(std::min((rows + rows_per_block - 1) / rows_per_block, kVoteBlocks));
    launch(nms_vote, voting, kCollectThreads, 0, as_stream(stream), candidates_of(buffers), selected_of(buffers), sums,
           options, result);
    check_launch("soft_nms_vote");
}

}  // namespace asl::cuda
