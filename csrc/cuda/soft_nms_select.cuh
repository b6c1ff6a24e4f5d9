// SPDX-License-Identifier: Apache-2.0
// Soft-NMS of one video by one block: rounds that select one candidate each.
//
// The candidates of a video lie by falling score, in chunks of 32. Scores only fall, so the best score that a chunk was
// last known to hold bounds what it holds now: a warp brings its best chunk up to date, against what the video has
// selected since, until the best one is up to date, and the best of the warps' best is the next selection. Most chunks
// are never looked at. The decays of a candidate are applied in the order of selection, so the roundings are those of
// the sequential algorithm.
#pragma once

#include <cstdint>

#include "common/soft_nms.h"

namespace asl::cuda {

constexpr int kNmsWarps = 8;
constexpr int kNmsThreads = 32 * kNmsWarps;

/// N candidates by video, within a video by falling score, then by row of the input.
struct NmsCandidates {
    const float* segments;       // (N, 2)
    const float* scores;         // (N,)
    const std::int64_t* labels;  // (N,) or null: class-agnostic
    const std::int64_t* rows;    // (N,) of the input
    const std::int64_t* starts;  // (videos + 1,) first candidate of each video; N where there is none any more
    int count;
    int videos;
};

/// What the block of a video keeps between rounds; of each chunk in the element of that number from the video's first.
struct NmsScratch {
    float* current;       // (N,) scores as of the chunk's last update, -1 once suppressed or selected
    std::uint64_t* best;  // (N,) key of the chunk's best candidate as of then, 0: none
    int* seen;            // (N,) how many selections of the video its scores account for, -1: never looked at
};

/// The selections of each video in order, from its first element on.
struct NmsSelected {
    int* positions;        // (N,)
    float* scores;         // (N,)
    std::int64_t* counts;  // (videos,)
};

__device__ __forceinline__ std::uint64_t warp_max(std::uint64_t key) {
    for (int bits = 16; bits > 0; bits /= 2) {
        const std::uint64_t other = __shfl_xor_sync(~0u, key, bits);
        key = other > key ? other : key;
    }
    return key;
}

/// Score of a candidate after a selected segment; negative once suppressed or below min_score.
__device__ __forceinline__ float nms_decayed(float score, float start, float end, float other_start, float other_end,
                                             const NmsOptions& options) {
    // Written so that segments that are reversed, without length or NaN overlap nothing.
    if (!(end > start && other_end > other_start && start < other_end && end > other_start)) return score;
    const float inter = (end < other_end ? end : other_end) - (start > other_start ? start : other_start);
    const float factor = nms_decay(inter, nms_area(other_start, other_end), nms_area(start, end), options);
    score = __fmul_rn(score, factor);
    return factor >= 0.0f && score >= options.min_score ? score : -1.0f;
}

/// One video, as a thread of its block sees it.
class NmsVideo {
  public:
    __device__ NmsVideo(const NmsCandidates& candidates, const NmsScratch& scratch, const NmsSelected& selected,
                        const NmsOptions& options, int video)
        : all_(candidates),
          scratch_(scratch),
          selected_(selected),
          options_(options),
          first_(static_cast<int>(candidates.starts[video])),
          size_(static_cast<int>(candidates.starts[video + 1]) - first_),
          chunks_((size_ + 31) / 32),
          lane_(static_cast<int>(threadIdx.x % 32)),
          warp_(static_cast<int>(threadIdx.x / 32)) {}

    __device__ int size() const { return size_; }

    /// Every chunk's first candidate is its best.
    __device__ void prepare() const {
        for (int chunk = static_cast<int>(threadIdx.x); chunk < chunks_; chunk += kNmsThreads) {
            scratch_.best[first_ + chunk] = key(first_ + 32 * chunk, all_.scores[first_ + 32 * chunk]);
            scratch_.seen[first_ + chunk] = -1;
        }
    }

    /// Key of the best candidate of the warp's chunks after `kept` selections, 0: none; its chunk goes to `chunk`.
    __device__ std::uint64_t best_of_warp(int kept, int& chunk) const {
        for (;;) {
            std::uint64_t best = 0;
            for (int mine = warp_ + kNmsWarps * lane_; mine < chunks_; mine += kNmsThreads) {
                const std::uint64_t bound = scratch_.best[first_ + mine];
                if (bound > best) {
                    best = bound;
                    chunk = mine;
                }
            }
            const std::uint64_t top = warp_max(best);
            if (top == 0) return 0;
            chunk = __shfl_sync(~0u, chunk, __ffs(static_cast<int>(__ballot_sync(~0u, best == top))) - 1);
            if (scratch_.seen[first_ + chunk] == kept) return top;
            update(chunk, kept);
        }
    }

    /// Selects the candidate with this key, which the warp has found in this chunk, as number `kept`.
    __device__ void take(std::uint64_t chosen, int chunk, int kept) const {
        const int at = 32 * chunk + lane_, position = first_ + at;
        const float score = at < size_ ? scratch_.current[position] : -1.0f;
        std::uint64_t own = at < size_ ? key(position, score) : 0;
        if (own == chosen) {
            selected_.positions[first_ + kept] = position;
            selected_.scores[first_ + kept] = score;
            scratch_.current[position] = -1.0f;
            own = 0;
        }
        const std::uint64_t best = warp_max(own);
        if (lane_ == 0) scratch_.best[first_ + chunk] = best;
    }

    /// Appends the best candidate of every class that has none at min_score or above; returns how many are kept then.
    ///
    /// `labels` and `open`: kNmsThreads elements of shared memory each.
    __device__ int keep_best_below(int kept, int limit, std::int64_t* labels, int* open) const {
        const int thread = static_cast<int>(threadIdx.x);
        for (int tile = alive(); tile < size_ && kept < limit && (all_.labels || kept == 0); tile += kNmsThreads) {
            const int position = first_ + tile + thread;
            bool chosen = tile + thread < size_ && all_.scores[position] < options_.min_score;
            const std::int64_t own = chosen ? label(position) : 0;
            for (int k = 0; k < kept && chosen; ++k) chosen = label(selected_.positions[first_ + k]) != own;
            labels[thread] = own;
            open[thread] = chosen;
            __syncthreads();
            for (int before = 0; before < thread && chosen; ++before) chosen = !open[before] || labels[before] != own;
            __syncthreads();
            open[thread] = chosen;
            const int found = __syncthreads_count(chosen);
            int place = kept;
            for (int before = 0; before < thread && chosen; ++before) place += open[before];
            if (chosen && place < limit) {
                selected_.positions[first_ + place] = position;
                selected_.scores[first_ + place] = all_.scores[position];
            }
            kept = min(limit, kept + found);
            __syncthreads();
        }
        return kept;
    }

  private:
    __device__ std::int64_t label(int position) const { return all_.labels ? all_.labels[position] : 0; }

    __device__ std::uint64_t key(int position, float score) const {
        return score >= options_.min_score ? nms_key(score, static_cast<std::uint32_t>(all_.rows[position])) : 0;
    }

    /// How many candidates have min_score or more to begin with.
    __device__ int alive() const {
        int low = 0, high = size_;
        while (low < high) {
            const int middle = low + (high - low) / 2;
            if (all_.scores[first_ + middle] >= options_.min_score)
                low = middle + 1;
            else
                high = middle;
        }
        return low;
    }

    /// Brings a chunk's scores up to date after `kept` selections: a lane for each candidate.
    __device__ void update(int chunk, int kept) const {
        const int at = 32 * chunk + lane_, position = first_ + at, seen = scratch_.seen[first_ + chunk];
        float score = -1.0f, start = 0.0f, end = 0.0f;
        std::int64_t own = 0;
        if (at < size_) {
            score = seen < 0 ? all_.scores[position] : scratch_.current[position];
            start = all_.segments[2 * static_cast<std::int64_t>(position)];
            end = all_.segments[2 * static_cast<std::int64_t>(position) + 1];
            own = label(position);
        }
        if (!(score >= options_.min_score)) score = -1.0f;
        for (int tile = max(seen, 0); tile < kept; tile += 32) {
            float other_start = 0.0f, other_end = 0.0f;
            std::int64_t other = 0;
            if (tile + lane_ < kept) {
                const std::int64_t selected = selected_.positions[first_ + tile + lane_];
                other_start = all_.segments[2 * selected];
                other_end = all_.segments[2 * selected + 1];
                other = label(static_cast<int>(selected));
            }
            for (int k = 0; k < min(32, kept - tile); ++k) {
                const float from = __shfl_sync(~0u, other_start, k), to = __shfl_sync(~0u, other_end, k);
                if (__shfl_sync(~0u, other, k) == own && score >= 0.0f)
                    score = nms_decayed(score, start, end, from, to, options_);
            }
        }
        if (at < size_) scratch_.current[position] = score;
        const std::uint64_t best = warp_max(at < size_ ? key(position, score) : 0);
        __syncwarp();  // all lanes have read `seen`
        if (lane_ == 0) {
            scratch_.best[first_ + chunk] = best;
            scratch_.seen[first_ + chunk] = kept;
        }
        __syncwarp();
    }

    const NmsCandidates& all_;
    const NmsScratch& scratch_;
    const NmsSelected& selected_;
    const NmsOptions& options_;
    const int first_, size_, chunks_, lane_, warp_;
};

/// Block: one video after the other.
__global__ void __launch_bounds__(kNmsThreads)
    nms_select(NmsCandidates candidates, NmsScratch scratch, NmsSelected selected, NmsOptions options) {
    __shared__ std::uint64_t tops[kNmsWarps];
    __shared__ std::int64_t labels[kNmsThreads];
    __shared__ int open[kNmsThreads];
    for (int number = static_cast<int>(blockIdx.x); number < candidates.videos; number += static_cast<int>(gridDim.x)) {
        if (candidates.starts[number] >= candidates.count) return;
        const NmsVideo video(candidates, scratch, selected, options, number);
        const int limit = static_cast<int>(nms_limit(video.size(), options));
        video.prepare();
        __syncthreads();
        int kept = 0;
        while (kept < limit) {
            int chunk = 0;
            const std::uint64_t own = video.best_of_warp(kept, chunk);
            if (threadIdx.x % 32 == 0) tops[threadIdx.x / 32] = own;
            __syncthreads();
            std::uint64_t top = 0;
            for (int warp = 0; warp < kNmsWarps; ++warp) top = tops[warp] > top ? tops[warp] : top;
            if (top == 0) break;
            if (own == top) video.take(top, chunk, kept);
            ++kept;
            __syncthreads();
        }
        __syncthreads();
        if (options.keep_best) kept = video.keep_best_below(kept, limit, labels, open);
        if (threadIdx.x == 0) selected.counts[number] = kept;
    }
}

}  // namespace asl::cuda
