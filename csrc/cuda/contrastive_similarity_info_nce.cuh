// SPDX-License-Identifier: Apache-2.0
// InfoNCE over unit vectors with running log-sum-exps (Milakov and Gimelshein, 2018): similarities exist in tiles only.
//
// A warp owns 4 rows of a tile and a lane 4 of its keys (2 in float64), so that what is summed along a row never leaves
// the lane until the end. No GPU has run it yet.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/elementary.h"
#include "cuda/contrastive_similarity_pool.cuh"

namespace asl::cuda {

constexpr int kRowsOfWarp = 4, kTileRows = kRowsOfWarp * kContrastiveWarps, kStep = 16;
template <class Real>
constexpr int kKeysOfLane = 16 / sizeof(Real);  // what one instruction reads
template <class Real>
constexpr int kTileKeys = 32 * kKeysOfLane<Real>;

/// Some channels of the rows and keys of a tile, transposed; one more pack spreads the writes over the banks.
template <class Real>
struct Panels {
    Pack<Real, kRowsOfWarp> rows[kStep][kContrastiveWarps + 1];
    Pack<Real, kKeysOfLane<Real>> keys[kStep][33];
};

ASL_HOST_DEVICE std::int64_t blocks_of(std::int64_t items, std::int64_t each) { return (items + each - 1) / each; }

/// Few instances give few tiles of rows: then the keys are divided among several blocks, to fill a device once.
constexpr std::int64_t kContrastiveBlocks = 128, kContrastiveParts = 6;

template <class Real>
ASL_HOST_DEVICE std::int64_t parts_of_keys(std::int64_t count) {
    const std::int64_t rows = blocks_of(2 * count, kTileRows), keys = blocks_of(3 * count, kTileKeys<Real>);
    std::int64_t parts = rows > 0 ? kContrastiveBlocks / rows : 1;
    parts = parts > kContrastiveParts ? kContrastiveParts : parts;
    parts = parts > keys ? keys : parts;
    return parts > 1 ? parts : 1;
}

/// Consecutive vectors from one on; what lies beyond the last reads as 0. Lines within a tile fit into an int, as do
/// the lines from the first to where the second and the third kind of vector begin, if they lie within.
template <class Real>
struct Lines {
    const Real* first;
    int gap;  // elements of padding that lie between two kinds
    int left, channels, second, third;

    __device__ Lines(const Instances<Real>& in, const Real* vectors, std::int64_t at)
        : first(vectors + in.place(at) * in.channels),
          gap(static_cast<int>(in.room - in.count) * in.channels),
          left(lines(3 * in.count - at)),
          channels(in.channels),
          second(at < in.count ? lines(in.count - at) : kMost),
          third(at < 2 * in.count ? lines(2 * in.count - at) : kMost) {}

    __device__ Real element(int line, int channel) const {
        if (line >= left || channel >= channels) return Real(0);
        return first[line * channels + channel + (line >= second ? gap : 0) + (line >= third ? gap : 0)];
    }

    static constexpr int kMost = 1 << 20;  // more than a tile has, less than an int holds
    static __device__ int lines(std::int64_t number) { return number < kMost ? static_cast<int>(number) : kMost; }
};

/// What a thread copies from global memory into the panels: one channel of every 16th row and key.
template <class Real>
struct Carried {
    static constexpr int kApart = kContrastiveThreads / kStep;
    Real rows[kTileRows / kApart], keys[kTileKeys<Real> / kApart];

    __device__ void read(const Lines<Real>& from_rows, const Lines<Real>& from_keys, int first_channel) {
        const int line = static_cast<int>(threadIdx.x) / kStep;
        const int channel = first_channel + static_cast<int>(threadIdx.x) % kStep;
#pragma unroll
        for (int i = 0; i < kTileRows / kApart; ++i) rows[i] = from_rows.element(line + i * kApart, channel);
#pragma unroll
        for (int i = 0; i < kTileKeys<Real> / kApart; ++i) keys[i] = from_keys.element(line + i * kApart, channel);
    }

    __device__ void write(Panels<Real>& to) const {
        const int line = static_cast<int>(threadIdx.x) / kStep, d = static_cast<int>(threadIdx.x) % kStep;
#pragma unroll
        for (int i = 0; i < kTileRows / kApart; ++i) {
            const int row = line + i * kApart;
            to.rows[d][row / kRowsOfWarp].values[row % kRowsOfWarp] = rows[i];
        }
#pragma unroll
        for (int i = 0; i < kTileKeys<Real> / kApart; ++i) {
            const int key = line + i * kApart;
            to.keys[d][key / kKeysOfLane<Real>].values[key % kKeysOfLane<Real>] = keys[i];
        }
    }
};

/// Cosines of this thread's rows and keys. At least two barriers of the block lie within.
template <class Real>
__device__ __forceinline__ void cosine_tile(const Lines<Real>& rows, const Lines<Real>& keys, Panels<Real>& panels,
                                            Real (&tile)[kRowsOfWarp][kKeysOfLane<Real>]) {
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (auto& row : tile)
#pragma unroll
        for (Real& value : row) value = 0;
    Carried<Real> next;
    next.read(rows, keys, 0);
    int first = 0;
    do {
        __syncthreads();  // the panels may still be read
        next.write(panels);
        __syncthreads();
        first += kStep;
        if (first < keys.channels) next.read(rows, keys, first);
#pragma unroll
        for (int d = 0; d < kStep; ++d) {
            const auto row = panels.rows[d][warp];
            const auto key = panels.keys[d][lane];
#pragma unroll
            for (int i = 0; i < kRowsOfWarp; ++i)
#pragma unroll
                for (int j = 0; j < kKeysOfLane<Real>; ++j) tile[i][j] += row.values[i] * key.values[j];
        }
    } while (first < keys.channels);
}

/// Of vector `at` (f_cls, f_loc and f_bg of all instances one after the other): a class, -1 background, -2 no part.
template <class Real>
__device__ __forceinline__ int vector_label(const Instances<Real>& in, std::int64_t at) {
    if (at >= 3 * in.count) return -2;
    const int kind = at < in.count ? 0 : at < 2 * in.count ? 1 : 2;
    const std::int64_t g = at - kind * in.count;
    return static_cast<int>(in.ranges[g].label(kind, in.labels[g]));
}

/// Running maximum and sum of exp(x - maximum).
template <class Real>
struct RunningLogSum {
    Real highest = -kInfinite<Real>, sum = 0;

    __device__ void add(Real x) {
        const Real above = x - highest;
        const Real e = exp_nonpositive(above > 0 ? -above : above);
        sum = above > 0 ? sum * e + 1 : sum + e;
        highest = above > 0 ? x : highest;
    }

    __device__ void add(const RunningLogSum& other) {
        const Real higher = other.highest > highest ? other.highest : highest;
        if (higher == -kInfinite<Real>) {
            sum += other.sum;  // 0, or NaN where a similarity was
            return;
        }
        sum = sum * exp_nonpositive(highest - higher) + other.sum * exp_nonpositive(other.highest - higher);
        highest = higher;
    }

    __device__ Real value() const { return highest + std::log(sum); }
};

/// Both log-sum-exps of one anchor over some of the keys.
template <class Real>
struct AnchorSums {
    RunningLogSum<Real> all, positive;

    /// Joins what the lanes of a warp have; every lane gets the same.
    __device__ void join() {
        for (int offset = 16; offset > 0; offset /= 2) {
            RunningLogSum<Real> other;
            other.highest = __shfl_xor_sync(~0u, all.highest, offset);
            other.sum = __shfl_xor_sync(~0u, all.sum, offset);
            all.add(other);
            other.highest = __shfl_xor_sync(~0u, positive.highest, offset);
            other.sum = __shfl_xor_sync(~0u, positive.sum, offset);
            positive.add(other);
        }
    }

    __device__ void store(Real* to) const {
        to[0] = all.highest;
        to[1] = all.sum;
        to[2] = positive.highest;
        to[3] = positive.sum;
    }

    static __device__ AnchorSums load(const Real* from) {
        AnchorSums sums;
        sums.all.highest = __ldcg(from);
        sums.all.sum = __ldcg(from + 1);
        sums.positive.highest = __ldcg(from + 2);
        sums.positive.sum = __ldcg(from + 3);
        return sums;
    }
};

/// Scalars that the forward pass ends in: total = base + weight * loss.
template <class Real>
struct ContrastiveLoss {
    const Real* base;  // or null
    Real weight;
    Real *total, *loss, *anchors;
};

/// By the last block of the launch: joins the parts of the keys in order, stores the log-sum-exps (infinite where an
/// anchor has no positive, and of the background), and averages the anchors' losses.
template <class Real>
__device__ void finish_loss(const Instances<Real>& in, int parts_of_keys, const Real* parts, Real* stats,
                            const ContrastiveLoss<Real>& to) {
    __shared__ double scratch[kContrastiveWarps];
    const std::int64_t rows = 2 * in.count, total = 3 * in.count;
    double loss = 0, anchors = 0;
    for (std::int64_t row = threadIdx.x; row < total; row += kContrastiveThreads) {
        AnchorSums<Real> sums;
        for (int part = 0; part < parts_of_keys && row < rows; ++part) {
            const auto other = AnchorSums<Real>::load(parts + 4 * (part * rows + row));
            sums.all.add(other.all);
            sums.positive.add(other.positive);
        }
        const bool counted = sums.positive.sum != 0;
        const Real log_all = counted ? sums.all.value() : kInfinite<Real>;
        const Real log_positive = counted ? sums.positive.value() : kInfinite<Real>;
        stats[3 * in.room + in.place(row)] = log_all;
        stats[6 * in.room + in.place(row)] = log_positive;
        loss += counted ? static_cast<double>(log_all - log_positive) : 0.0;
        anchors += counted ? 1 : 0;
    }
    loss = block_sum<kContrastiveThreads>(loss, scratch);
    anchors = block_sum<kContrastiveThreads>(anchors, scratch);
    if (threadIdx.x != 0) return;
    const double number = anchors > 1 ? anchors : 1;
    const Real mean = static_cast<Real>(loss / number);
    *to.anchors = static_cast<Real>(number);
    *to.loss = mean;
    *to.total = (to.base != nullptr ? *to.base : Real(0)) + to.weight * mean;
}

/// A block meets kTileRows anchors with every parts_of_keys-th tile of keys; parts (parts_of_keys, 2 count, 4).
template <class Real>
__global__ void __launch_bounds__(kContrastiveThreads)
    log_sums_kernel(Instances<Real> in, const Real* vectors, Real scale, Real* parts, unsigned* counter, Real* stats,
                    ContrastiveLoss<Real> to) {
    __shared__ Panels<Real> panels;
    __shared__ int key_labels[kTileKeys<Real>];
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    in.leave_out_padding();
    const auto of_keys = static_cast<int>(parts_of_keys<Real>(in.count));
    // Of no anchors the first block takes the mean.
    const auto blocks = static_cast<unsigned>(blocks_of(in.count > 0 ? 2 * in.count : 1, kTileRows)) * of_keys;
    if (blockIdx.x >= blocks) return;
    const int part = static_cast<int>(blockIdx.x) % of_keys;
    const std::int64_t first_row = static_cast<std::int64_t>(static_cast<int>(blockIdx.x) / of_keys) * kTileRows;
    const std::int64_t own_row = first_row + warp * kRowsOfWarp, rows = 2 * in.count, total = 3 * in.count;
    int own[kRowsOfWarp];
    for (int i = 0; i < kRowsOfWarp; ++i) own[i] = vector_label(in, own_row + i);
    AnchorSums<Real> sums[kRowsOfWarp];
    const Lines<Real> own_lines(in, vectors, first_row);
    for (std::int64_t first_key = static_cast<std::int64_t>(part) * kTileKeys<Real>; first_key < total;
         first_key += static_cast<std::int64_t>(of_keys) * kTileKeys<Real>) {
        Real tile[kRowsOfWarp][kKeysOfLane<Real>];
        cosine_tile(own_lines, Lines<Real>(in, vectors, first_key), panels, tile);
        if (thread < kTileKeys<Real>) key_labels[thread] = vector_label(in, first_key + thread);
        __syncthreads();
        const int itself = static_cast<int>(own_row - first_key) - lane * kKeysOfLane<Real>;  // the key that is row 0
#pragma unroll
        for (int j = 0; j < kKeysOfLane<Real>; ++j) {
            const int label = key_labels[lane * kKeysOfLane<Real> + j];
#pragma unroll
            for (int i = 0; i < kRowsOfWarp; ++i) {
                if (label == -2 || j == itself + i) continue;
                const Real x = tile[i][j] * scale;
                sums[i].all.add(x);
                if (label == own[i] && label >= 0) sums[i].positive.add(x);
            }
        }
    }
#pragma unroll
    for (int i = 0; i < kRowsOfWarp; ++i) {
        sums[i].join();
        if (lane == 0 && own_row + i < rows) sums[i].store(parts + 4 * (part * rows + own_row + i));
    }
    if (comes_last(counter, blocks)) finish_loss(in, of_keys, parts, stats, to);
}

}  // namespace asl::cuda
