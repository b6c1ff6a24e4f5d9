// SPDX-License-Identifier: Apache-2.0
// From the selections of each video to the padded result, and segment voting.
#pragma once

#include <cstdint>

#include "common/soft_nms.h"
#include "cuda/soft_nms_select.cuh"

namespace asl::cuda {

constexpr int kCollectThreads = 256;

struct NmsResult {
    std::int64_t* indices;  // (rows,)
    float* segments;        // (rows, 2)
    float* scores;          // (rows,)
    std::int64_t* count;    // ()
    int rows;
};

/// Which video the row of the result is of; ends (videos,): how many rows there are up to and with each video.
__device__ __forceinline__ int nms_video_of(std::int64_t row, const std::int64_t* ends, int videos) {
    int low = 0, high = videos - 1;
    while (low < high) {
        const int middle = low + (high - low) / 2;
        if (ends[middle] > row)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/// Position of the row's candidate in the order of NmsCandidates, and the place of its selection.
__device__ __forceinline__ int nms_place(std::int64_t row, int video, const NmsCandidates& candidates,
                                         const std::int64_t* ends) {
    const std::int64_t before = video > 0 ? ends[video - 1] : 0;
    return static_cast<int>(candidates.starts[video] + row - before);
}

/// Thread: one row of the result. Padding: index -1, segment and score 0.
__global__ void __launch_bounds__(kCollectThreads)
    nms_collect(NmsCandidates candidates, NmsSelected selected, const std::int64_t* ends, NmsResult result) {
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kCollectThreads + threadIdx.x;
    const std::int64_t total = ends[candidates.videos - 1];
    if (row == 0) *result.count = total;
    if (row >= result.rows) return;
    std::int64_t index = -1;
    float start = 0.0f, end = 0.0f, score = 0.0f;
    if (row < total) {
        const int place = nms_place(row, nms_video_of(row, ends, candidates.videos), candidates, ends);
        const std::int64_t position = selected.positions[place];
        index = candidates.rows[position];
        start = candidates.segments[2 * position];
        end = candidates.segments[2 * position + 1];
        score = selected.scores[place];
    }
    result.indices[row] = index;
    result.segments[2 * row] = start;
    result.segments[2 * row + 1] = end;
    result.scores[row] = score;
}

__device__ __forceinline__ double warp_sum(double value) {
    for (int bits = 16; bits > 0; bits /= 2) value += __shfl_xor_sync(~0u, value, bits);
    return value;
}

/// Warp: one row after the other; moves it to the mean of the candidates that overlap it, weighted by score * IoU.
__global__ void __launch_bounds__(kCollectThreads)
    nms_vote(NmsCandidates candidates, NmsSelected selected, const std::int64_t* ends, NmsOptions options,
             NmsResult result) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    const std::int64_t total = ends[candidates.videos - 1];
    const std::int64_t warps = static_cast<std::int64_t>(gridDim.x) * (kCollectThreads / 32);
    for (std::int64_t row = (static_cast<std::int64_t>(blockIdx.x) * kCollectThreads + threadIdx.x) / 32; row < total;
         row += warps) {
        const float from = result.segments[2 * row], to = result.segments[2 * row + 1];
        if (!(to > from)) continue;
        const int video = nms_video_of(row, ends, candidates.videos);
        const int chosen = selected.positions[nms_place(row, video, candidates, ends)];
        const std::int64_t own = candidates.labels ? candidates.labels[chosen] : 0;
        double weights = 0.0, starts = 0.0, finishes = 0.0;
        for (std::int64_t i = candidates.starts[video] + lane; i < candidates.starts[video + 1]; i += 32) {
            const float start = candidates.segments[2 * i], end = candidates.segments[2 * i + 1];
            if (!(end > start) || (candidates.labels && candidates.labels[i] != own)) continue;
            const double weight = vote_weight(from, to, start, end, candidates.scores[i], options);
            weights += weight;
            starts += weight * start;
            finishes += weight * end;
        }
        weights = warp_sum(weights);
        starts = warp_sum(starts);
        finishes = warp_sum(finishes);
        if (lane == 0 && weights > 0.0) {
            result.segments[2 * row] = static_cast<float>(starts / weights);
            result.segments[2 * row + 1] = static_cast<float>(finishes / weights);
        }
    }
}

}  // namespace asl::cuda
