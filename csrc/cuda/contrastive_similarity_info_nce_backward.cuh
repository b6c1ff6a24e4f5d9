// SPDX-License-Identifier: Apache-2.0
// Gradient of the pooled vectors. The similarity is symmetric: what a vector receives as an anchor and as a key comes
// from one row of tiles, so that a block owns its rows and nothing is added atomically. No GPU has run it yet.
#pragma once

#include <cstdint>

#include "cuda/contrastive_similarity_info_nce.cuh"

namespace asl::cuda {

/// What arrives at the loss: weight * total + loss, each a number of any floating type, or absent.
template <class Real>
struct LossGradient {
    Source total, loss;
    Real weight;

    __device__ Real value() const {
        const Real through_total = total.data != nullptr ? weight * load<Real>(total, 0) : Real(0);
        return loss.data != nullptr ? through_total + load<Real>(loss, 0) : through_total;
    }
};

constexpr int kKeyStep = 8;

/// Channels of a block: kPacks packs a lane.
template <int kPacks, class Real>
constexpr int kSliceChannels = 32 * kKeysOfLane<Real> * kPacks;

/// exp(x - log_sum). No term of a sum exceeds it but by rounding; an infinite log-sum-exp belongs to no anchor.
template <class Real>
__device__ __forceinline__ Real share_of_sum(Real x, Real log_sum) {
    const Real above = x - log_sum;
    return exp_nonpositive(above > 0 ? Real(0) : above);
}

/// Labels and log-sum-exps of the rows or the keys of a tile.
template <class Real, int kCount>
struct LineSums {
    int label[kCount];
    Real all[kCount], positive[kCount];

    /// By the first kCount threads of a block.
    __device__ void read(const Instances<Real>& in, const Real* stats, std::int64_t first) {
        const int line = static_cast<int>(threadIdx.x);
        if (line >= kCount) return;
        const std::int64_t total = 3 * in.count, at = first + line < total ? first + line : total - 1;
        label[line] = vector_label(in, first + line);
        all[line] = stats[3 * in.room + in.place(at)];
        positive[line] = stats[6 * in.room + in.place(at)];
    }
};

/// Rows of kKeyStep keys in the block's channels on their way to shared memory.
template <int kPacks, class Real>
struct CarriedKeys {
    static constexpr int kChannels = kSliceChannels<kPacks, Real>;
    static constexpr int kCount = kKeyStep * kChannels / kContrastiveThreads;
    Real values[kCount];

    __device__ void read(const Lines<Real>& keys, int first_key, int first_channel) {
#pragma unroll
        for (int i = 0; i < kCount; ++i) {
            const int at = static_cast<int>(threadIdx.x) + i * kContrastiveThreads;
            values[i] = keys.element(first_key + at / kChannels, first_channel + at % kChannels);
        }
    }

    __device__ void write(Pack<Real, kKeysOfLane<Real>> (&to)[kKeyStep][32 * kPacks]) const {
#pragma unroll
        for (int i = 0; i < kCount; ++i) {
            const int at = static_cast<int>(threadIdx.x) + i * kContrastiveThreads, channel = at % kChannels;
            to[at / kChannels][channel / kKeysOfLane<Real>].values[channel % kKeysOfLane<Real>] = values[i];
        }
    }
};

/// Gradient of kTileRows pooled vectors in kSliceChannels of their channels, through their lengths.
template <int kPacks, class Real>
__global__ void __launch_bounds__(kContrastiveThreads, sizeof(Real) == sizeof(float) ? 2 : 1)
    vector_gradient_kernel(Instances<Real> in, const Real* vectors, const Real* stats, const Real* anchors,
                           LossGradient<Real> incoming, Real scale, int slices, Real* out) {
    constexpr int kWidth = kKeysOfLane<Real>;
    __shared__ union {
        Panels<Real> cosines;
        Pack<Real, kWidth> keys[kKeyStep][32 * kPacks];
    } staged;
    __shared__ LineSums<Real, kTileRows> row_sums;
    __shared__ LineSums<Real, kTileKeys<Real>> key_sums;
    __shared__ Pack<Real, kRowsOfWarp> slopes[kContrastiveWarps][kTileKeys<Real>];
    in.leave_out_padding();
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    const int first_channel = static_cast<int>(blockIdx.x) % slices * kSliceChannels<kPacks, Real>;
    const std::int64_t first_row = static_cast<std::int64_t>(static_cast<int>(blockIdx.x) / slices) * kTileRows;
    const std::int64_t own_row = first_row + warp * kRowsOfWarp, total = 3 * in.count;
    if (first_row >= total) return;
    Real gradient[kRowsOfWarp][kPacks][kWidth] = {}, along[kRowsOfWarp] = {};
    row_sums.read(in, stats, first_row);
    const Lines<Real> own_lines(in, vectors, first_row);
    // Background vectors have a slope only as the keys of anchors.
    const std::int64_t keys = first_row < 2 * in.count ? total : 2 * in.count;
    for (std::int64_t first_key = 0; first_key < keys; first_key += kTileKeys<Real>) {
        Real tile[kRowsOfWarp][kWidth];
        const Lines<Real> key_lines(in, vectors, first_key);
        cosine_tile(own_lines, key_lines, staged.cosines, tile);
        key_sums.read(in, stats, first_key);
        __syncthreads();
        const int itself = static_cast<int>(own_row - first_key) - lane * kWidth;  // the key that is row 0
#pragma unroll
        for (int j = 0; j < kWidth; ++j) {
            const int column = lane * kWidth + j, label = key_sums.label[column];
            Pack<Real, kRowsOfWarp> slope{};
#pragma unroll
            for (int i = 0; i < kRowsOfWarp; ++i) {
                const int row = warp * kRowsOfWarp + i, own = row_sums.label[row];
                if (label == -2 || own == -2 || j == itself + i) continue;
                const Real x = tile[i][j] * scale;
                Real value = share_of_sum(x, row_sums.all[row]) + share_of_sum(x, key_sums.all[column]);
                if (label == own && label >= 0)
                    value -= share_of_sum(x, row_sums.positive[row]) + share_of_sum(x, key_sums.positive[column]);
                slope.values[i] = value;
                along[i] += value * tile[i][j];
            }
            slopes[warp][column] = slope;
        }
        // A warp's slopes are its own, and the barrier above has freed the panels.
        CarriedKeys<kPacks, Real> next;
        next.read(key_lines, 0, first_channel);
        const std::int64_t left = keys - first_key;
        const int here = left < kTileKeys<Real> ? static_cast<int>(left) : kTileKeys<Real>;
        for (int first = 0; first < here; first += kKeyStep) {
            if (first > 0) __syncthreads();  // the former keys may still be read
            next.write(staged.keys);
            __syncthreads();
            if (first + kKeyStep < here) next.read(key_lines, first + kKeyStep, first_channel);
#pragma unroll
            for (int k = 0; k < kKeyStep; ++k) {
                const auto slope = slopes[warp][first + k];
#pragma unroll
                for (int pack = 0; pack < kPacks; ++pack) {
                    const auto key = staged.keys[k][lane + 32 * pack];
#pragma unroll
                    for (int i = 0; i < kRowsOfWarp; ++i)
#pragma unroll
                        for (int c = 0; c < kWidth; ++c) gradient[i][pack][c] += slope.values[i] * key.values[c];
                }
            }
        }
    }
    const Real factor = incoming.value() * scale / *anchors;
#pragma unroll
    for (int i = 0; i < kRowsOfWarp; ++i) {
        const Real length_slope = warp_sum(along[i]);
        if (own_row + i >= total) continue;
        const std::int64_t place = in.place(own_row + i);
        const Real row_factor = factor * stats[place];
#pragma unroll
        for (int pack = 0; pack < kPacks; ++pack)
#pragma unroll
            for (int c = 0; c < kWidth; ++c) {
                const int channel = first_channel + (lane + 32 * pack) * kWidth + c;
                if (channel >= in.channels) continue;
                const std::int64_t at = place * in.channels + channel;
                out[at] = row_factor * (gradient[i][pack][c] - length_slope * vectors[at]);
            }
    }
}

}  // namespace asl::cuda
