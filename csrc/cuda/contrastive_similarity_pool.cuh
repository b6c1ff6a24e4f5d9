// SPDX-License-Identifier: Apache-2.0
// What every launch of the contrastive loss takes, and the first of them: a block pools one instance.
//
// Whole vectors are summed frame by frame, so that their lengths need no second pass; neighbouring threads read
// neighbouring channels. No GPU has run it yet.
#pragma once

#include <cstdint>
#include <limits>

#include "common/contrastive_similarity.h"
#include "cuda/elements.h"
#include "cuda/sums.h"

namespace asl::cuda {

template <class Real>
constexpr Real kInfinite = std::numeric_limits<Real>::infinity();

constexpr int kContrastiveThreads = 256, kContrastiveWarps = kContrastiveThreads / 32;

/// The instances of a batch, contiguous.
template <class Real>
struct Instances {
    const std::uint8_t* mask;                    // (batch, frames)
    const Real* segments;                        // (count, 2)
    const std::int64_t *labels, *video_offsets;  // (count,), (batch + 1,)
    const Real *mu, *sigma;                      // (classes, 3)
    InstanceFrames* ranges;                      // (count,)
    std::int64_t batch, frames;
    std::int64_t count, room;  // how many there are, and how many the tensors have room for
    int channels;

    /// Instances behind the last video are padding. What a kernel computes depends on `count` alone.
    __device__ void leave_out_padding() { count = video_offsets[batch]; }

    /// Where vector `row` of the 3 count, kind after kind, lies in a tensor.
    __device__ std::int64_t place(std::int64_t row) const {
        return row + (room - count) * ((row >= count ? 1 : 0) + (row >= 2 * count ? 1 : 0));
    }

    __device__ Pooling<Real> pooling(std::int64_t g, const InstanceFrames& of) const {
        Pooling<Real> how;
        const std::int64_t gaussian = 3 * labels[g];
        how.set(of, segments[2 * g], segments[2 * g + 1], mu + gaussian, sigma + gaussian);
        return how;
    }

    __device__ std::int64_t video_of(std::int64_t g) const {
        std::int64_t low = 0, high = batch - 1;
        while (low < high) {
            const std::int64_t middle = (low + high) / 2;
            if (video_offsets[middle + 1] <= g)
                low = middle + 1;
            else
                high = middle;
        }
        return low;
    }
};

/// By a block: what the forward pass leaves of an instance that takes no part, whatever its segment and label hold.
template <class Real>
__device__ void write_padding(const Instances<Real>& in, std::int64_t g, std::int64_t video, Real* vectors,
                              Real* stats) {
    const int thread = static_cast<int>(threadIdx.x);
    if (thread == 0) {
        // Five times "none" in place: nvcc takes a constant that only stands in such a list for unused.
        in.ranges[g] = {
            {{0, -1}, {0, -1}, {0, -1}}, {{0, -1}, {0, -1}}, static_cast<std::int32_t>(video), InstanceState::kAbsent};
        for (int kind = 0; kind < 3; ++kind) {
            stats[kind * in.room + g] = 0;
            stats[(3 + kind) * in.room + g] = stats[(6 + kind) * in.room + g] = kInfinite<Real>;
        }
    }
    for (int kind = 0; kind < 3; ++kind)
        for (int channel = thread; channel < in.channels; channel += kContrastiveThreads)
            vectors[(kind * in.room + g) * in.channels + channel] = 0;
}

/// Ranges, three unit vectors (3, room, channels), and one over their lengths, of the instance of this block.
template <class T, class Real>
__global__ void __launch_bounds__(kContrastiveThreads)
    pool_kernel(const T* features, Instances<Real> in, Real delta, Real* vectors, Real* stats) {
    constexpr int kChannels = 2;  // of a thread at a time
    __shared__ Pooling<Real> how;
    __shared__ Pack<Real, 4> weights[kContrastiveThreads];  // of a frame in the three vectors, and whether it counts
    __shared__ int counts[kContrastiveWarps];
    __shared__ Real scratch[kContrastiveWarps], inverse[3];
    const std::int64_t g = blockIdx.x, video = in.video_of(g);
    in.leave_out_padding();
    if (g >= in.count) return write_padding(in, g, video, vectors, stats);
    const std::uint8_t* mask = in.mask + video * in.frames;
    const int thread = static_cast<int>(threadIdx.x);
    int valid = 0;
    for (std::int64_t t = thread; t < in.frames; t += kContrastiveThreads) valid += mask[t] != 0 ? 1 : 0;
    valid = block_sum<kContrastiveThreads>(valid, counts);
    if (thread == 0) {
        const Real* mu = in.mu + 3 * in.labels[g];
        in.ranges[g] =
            instance_frames(in.segments[2 * g], in.segments[2 * g + 1], mu, delta, video, std::int64_t(valid) - 1);
        how = in.pooling(g, in.ranges[g]);
    }
    __syncthreads();

    const FrameRange hull = how.frames.hull(true);
    const T* of_video = features + video * in.frames * in.channels;
    Real squares[3] = {};
    for (int first_channel = thread; first_channel - thread < in.channels;
         first_channel += kChannels * kContrastiveThreads) {
        Real sums[3][kChannels] = {};
        for (std::int32_t first = hull.first; first <= hull.last; first += kContrastiveThreads) {
            const std::int32_t left = hull.last - first + 1, t = first + thread;
            __syncthreads();  // the former frames may still be read
            if (thread < left) {
                const bool kept = mask[t] != 0 && how.share_of(0, t) + how.share_of(1, t) + how.share_of(2, t) > 0;
                const FrameShare<Real> share = how.at(t);
                weights[thread] = {share.weight[0], share.weight[1], share.weight[2], Real(kept ? 1 : 0)};
            }
            __syncthreads();
            const int frames = left < kContrastiveThreads ? left : kContrastiveThreads;
            const T* x = of_video + static_cast<std::int64_t>(first) * in.channels + first_channel;
#pragma unroll 4
            for (int i = 0; i < frames; ++i, x += in.channels) {
                const Pack<Real, 4> weight = weights[i];
                for (int k = 0; k < kChannels; ++k) {
                    // Masked frames may be NaN.
                    const bool there = first_channel + k * kContrastiveThreads < in.channels && weight.values[3] > 0;
                    const Real value = there ? as<Real>(x[k * kContrastiveThreads]) : Real(0);
                    for (int kind = 0; kind < 3; ++kind) sums[kind][k] += weight.values[kind] * value;
                }
            }
        }
        for (int kind = 0; kind < 3; ++kind)
            for (int k = 0; k < kChannels; ++k) {
                const int channel = first_channel + k * kContrastiveThreads;
                if (channel >= in.channels) continue;
                vectors[(kind * in.room + g) * in.channels + channel] = sums[kind][k];
                squares[kind] += sums[kind][k] * sums[kind][k];
            }
    }
    for (int kind = 0; kind < 3; ++kind) {
        const Real squared = block_sum<kContrastiveThreads>(squares[kind], scratch);
        if (thread == 0) stats[kind * in.room + g] = inverse[kind] = inverse_length(squared);
    }
    __syncthreads();
    for (int kind = 0; kind < 3; ++kind)
        for (int channel = thread; channel < in.channels; channel += kContrastiveThreads)
            vectors[(kind * in.room + g) * in.channels + channel] *= inverse[kind];  // stored by this thread
}

}  // namespace asl::cuda
