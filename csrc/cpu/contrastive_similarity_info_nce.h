// SPDX-License-Identifier: Apache-2.0
// InfoNCE over unit vectors with running log-sum-exps: similarities exist in tiles of 32 x 128 only. A row is computed
// in one order whatever thread does it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "common/elementary.h"
#include "cpu/contrastive_similarity_tiles.h"
#include "cpu/parallel.h"
#include "cpu/simd.h"

namespace asl {

constexpr std::int64_t kRowBlock = 32, kKeyBlock = 128, kExpLanes = 16;

/// Running maximum and sum of exp(x - maximum).
template <class Real>
struct LogSum {
    Real highest, sum;

    Real value() const { return highest + std::log(sum); }
};

/// One row of a tile of similarities into a log-sum-exp over the keys whose `counts` is 1.
template <class Real>
struct AddToLogSum {
    static ASL_HOST_DEVICE void run(const Real* __restrict row, const Real* __restrict counts, LogSum<Real>* to) {
        Real lanes[kExpLanes];
        for (std::int64_t lane = 0; lane < kExpLanes; ++lane) lanes[lane] = to->highest;
        for (std::int64_t j = 0; j < kKeyBlock; j += kExpLanes)
            for (std::int64_t lane = 0; lane < kExpLanes; ++lane) {
                const Real value = counts[j + lane] > 0 ? row[j + lane] : lanes[lane];
                lanes[lane] = value > lanes[lane] ? value : lanes[lane];
            }
        Real highest = to->highest;
        for (std::int64_t lane = 0; lane < kExpLanes; ++lane) highest = lanes[lane] > highest ? lanes[lane] : highest;
        for (std::int64_t lane = 0; lane < kExpLanes; ++lane) lanes[lane] = 0;
        for (std::int64_t j = 0; j < kKeyBlock; j += kExpLanes)
            for (std::int64_t lane = 0; lane < kExpLanes; ++lane) {
                const Real difference = row[j + lane] - highest;
                // A similarity that does not count may lie above the highest that does.
                const Real e = exp_nonpositive(difference > 0 ? Real(0) : difference);
                lanes[lane] += counts[j + lane] > 0 ? e : Real(0);
            }
        Real sum = to->sum * exp_nonpositive(to->highest - highest);
        for (std::int64_t lane = 0; lane < kExpLanes; ++lane) sum += lanes[lane];
        to->highest = highest;
        to->sum = sum;
    }
};

/// 1 where a key of these labels counts for a row of label `own`: among all, and as a positive.
template <class Real>
struct Counting {
    static ASL_HOST_DEVICE void run(const std::int64_t* __restrict labels, std::int64_t own, Real* __restrict all,
                                    Real* __restrict positive) {
        const Real takes_part = own > -2 ? Real(1) : Real(0), has_class = own >= 0 ? Real(1) : Real(0);
        for (std::int64_t j = 0; j < kKeyBlock; ++j) {
            all[j] = labels[j] > -2 ? takes_part : Real(0);
            positive[j] = labels[j] == own ? has_class : Real(0);
        }
    }
};

/// Slope of the loss in one row of similarities, both of the row as an anchor and of its keys as anchors; in place.
template <class Real>
struct Slopes {
    static ASL_HOST_DEVICE void run(Real* __restrict row, const Real* __restrict all, const Real* __restrict positive,
                                    Real log_all, Real log_positive, const Real* __restrict key_log_all,
                                    const Real* __restrict key_log_positive) {
        for (std::int64_t j = 0; j < kKeyBlock; ++j) {
            // No term of a sum exceeds it but by rounding; an infinite log-sum-exp belongs to no anchor.
            const Real x = row[j];
            const Real a = x - log_all, b = x - log_positive, c = x - key_log_all[j], d = x - key_log_positive[j];
            const Real among_all = exp_nonpositive(a > 0 ? Real(0) : a) + exp_nonpositive(c > 0 ? Real(0) : c);
            const Real among_positive = exp_nonpositive(b > 0 ? Real(0) : b) + exp_nonpositive(d > 0 ? Real(0) : d);
            row[j] = (all[j] > 0 ? among_all : Real(0)) - (positive[j] > 0 ? among_positive : Real(0));
        }
    }
};

/// Rows times a packed panel, the sums scaled.
template <class Real>
struct MultiplyPanels {
    static ASL_HOST_DEVICE void run(const Real* rows, const Real* panels, std::int64_t width, Real scale, Real* tile) {
        for (std::int64_t at = 0; at < kRowBlock * kKeyBlock; ++at) tile[at] = 0;
        for (std::int64_t j = 0; j < kKeyBlock; j += kTileColumns<Real>)
            for (std::int64_t i = 0; i < kRowBlock; i += kTileRows)
                multiply_tile(rows + i * width, width, panels + j * width, kTileColumns<Real>, width,
                              tile + i * kKeyBlock + j, kKeyBlock);
        for (std::int64_t at = 0; at < kRowBlock * kKeyBlock; ++at) tile[at] *= scale;
    }
};

/// sums (32, width) += slopes (32, 128) keys (128, width).
template <class Real>
struct MultiplyKeys {
    static ASL_HOST_DEVICE void run(const Real* slopes, const Real* keys, std::int64_t width, Real* sums) {
        for (std::int64_t d = 0; d < width; d += kTileColumns<Real>)
            for (std::int64_t i = 0; i < kRowBlock; i += kTileRows)
                multiply_tile(slopes + i * kKeyBlock, kKeyBlock, keys + d, width, kKeyBlock, sums + i * width + d,
                              width);
    }
};

/// Vectors (kinds f_cls, f_loc, f_bg one after the other) padded to whole tiles, as rows and as columns.
template <class Real>
class InfoNce {
  public:
    /// labels (count,): a class, -1 background, -2 takes no part. The first `anchors` vectors may be anchors.
    InfoNce(const Real* vectors, std::int64_t channels, std::vector<std::int64_t> labels, std::int64_t anchors,
            Real temperature, int threads)
        : count_(static_cast<std::int64_t>(labels.size())),
          anchors_(anchors),
          channels_(channels),
          width_(padded(std::max<std::int64_t>(1, channels), kTileColumns<Real>)),
          scale_(Real(1) / temperature),
          threads_(threads),
          labels_(std::move(labels)),
          rows_(static_cast<std::size_t>(padded(count_, kKeyBlock) * width_)),
          panels_(rows_.size()) {
        labels_.resize(static_cast<std::size_t>(padded(count_, kKeyBlock)), -2);
        parallel_for(padded(count_, kKeyBlock) / kTileColumns<Real>, 4, threads_, [&](std::int64_t b, std::int64_t e) {
            for (std::int64_t i = b * kTileColumns<Real>; i < std::min(count_, e * kTileColumns<Real>); ++i) {
                Real* panel = panels_.data() + i / kTileColumns<Real> * kTileColumns<Real> * width_;
                for (std::int64_t d = 0; d < channels_; ++d) {
                    const Real value = vectors[i * channels_ + d];
                    rows_[static_cast<std::size_t>(i * width_ + d)] = value;
                    panel[d * kTileColumns<Real> + i % kTileColumns<Real>] = value;
                }
            }
        });
    }

    /// log-sum-exp over all keys and over the positives, infinite for a vector that is no anchor with a positive.
    void forward(Real* log_all, Real* log_positive) const {
        parallel_for(blocks(count_), 1, threads_, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t block = begin; block < end; ++block) forward_block(block, log_all, log_positive);
        });
    }

    /// Gradient of every unit vector times temperature; out (count, channels), before division by the number of
    /// anchors.
    void backward(const Real* log_all, const Real* log_positive, Real* out) const {
        parallel_for(blocks(count_), 1, threads_, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t block = begin; block < end; ++block) backward_block(block, log_all, log_positive, out);
        });
    }

  private:
    static std::int64_t padded(std::int64_t size, std::int64_t to) { return (size + to - 1) / to * to; }
    static std::int64_t blocks(std::int64_t rows) { return padded(rows, kRowBlock) / kRowBlock; }

    /// 1 where a key counts in the row's two sums.
    void counting(std::int64_t row, std::int64_t first_key, Real* all, Real* positive) const {
        simd_call<Counting<Real>>(simd_level(), labels_.data() + first_key, labels_[static_cast<std::size_t>(row)], all,
                                  positive);
        const std::int64_t itself = row - first_key;
        if (itself >= 0 && itself < kKeyBlock) all[itself] = positive[itself] = 0;
    }

    void tile_of(std::int64_t block, std::int64_t first_key, Real* tile) const {
        simd_call<MultiplyPanels<Real>>(simd_level(), rows_.data() + block * kRowBlock * width_,
                                        panels_.data() + first_key * width_, width_, scale_, tile);
    }

    void forward_block(std::int64_t block, Real* log_all, Real* log_positive) const {
        constexpr Real kNothing = std::numeric_limits<Real>::lowest() / 4;
        const std::int64_t first = block * kRowBlock, rows = std::min(kRowBlock, count_ - first);
        std::vector<Real> tile(kRowBlock * kKeyBlock);
        std::vector<LogSum<Real>> all(kRowBlock, {kNothing, 0}), positive(kRowBlock, {kNothing, 0});
        Real counts_all[kKeyBlock], counts_positive[kKeyBlock];
        for (std::int64_t key = 0; key < count_ && first < anchors_; key += kKeyBlock) {
            tile_of(block, key, tile.data());
            for (std::int64_t i = 0; i < rows; ++i) {
                counting(first + i, key, counts_all, counts_positive);
                const Real* row = tile.data() + i * kKeyBlock;
                simd_call<AddToLogSum<Real>>(simd_level(), row, static_cast<const Real*>(counts_all), all.data() + i);
                simd_call<AddToLogSum<Real>>(simd_level(), row, static_cast<const Real*>(counts_positive),
                                             positive.data() + i);
            }
        }
        for (std::int64_t i = 0; i < rows; ++i) {
            // The sum is 0 without a positive, at least 1 with some, and NaN where a similarity is.
            const bool counted = first + i < anchors_ && labels_[static_cast<std::size_t>(first + i)] >= 0 &&
                                 positive[static_cast<std::size_t>(i)].sum != 0;
            const Real infinite = std::numeric_limits<Real>::infinity();
            log_all[first + i] = counted ? all[static_cast<std::size_t>(i)].value() : infinite;
            log_positive[first + i] = counted ? positive[static_cast<std::size_t>(i)].value() : infinite;
        }
    }

    void backward_block(std::int64_t block, const Real* log_all, const Real* log_positive, Real* out) const {
        const std::int64_t first = block * kRowBlock, rows = std::min(kRowBlock, count_ - first);
        std::vector<Real> tile(kRowBlock * kKeyBlock), sums(static_cast<std::size_t>(kRowBlock * width_), Real(0));
        Real all[kKeyBlock], positive[kKeyBlock], key_all[kKeyBlock], key_positive[kKeyBlock];
        // A vector that is no anchor has a slope only as the key of anchors.
        const std::int64_t keys = first < anchors_ ? count_ : anchors_;
        for (std::int64_t key = 0; key < keys; key += kKeyBlock) {
            tile_of(block, key, tile.data());
            for (std::int64_t j = 0; j < kKeyBlock; ++j) {
                const bool there = key + j < count_;
                key_all[j] = there ? log_all[key + j] : std::numeric_limits<Real>::infinity();
                key_positive[j] = there ? log_positive[key + j] : std::numeric_limits<Real>::infinity();
            }
            for (std::int64_t i = 0; i < rows; ++i) {
                counting(first + i, key, all, positive);
                simd_call<Slopes<Real>>(simd_level(), tile.data() + i * kKeyBlock, static_cast<const Real*>(all),
                                        static_cast<const Real*>(positive), log_all[first + i], log_positive[first + i],
                                        static_cast<const Real*>(key_all), static_cast<const Real*>(key_positive));
            }
            simd_call<MultiplyKeys<Real>>(simd_level(), static_cast<const Real*>(tile.data()),
                                          rows_.data() + key * width_, width_, sums.data());
        }
        for (std::int64_t i = 0; i < rows; ++i)
            std::copy_n(sums.data() + i * width_, channels_, out + (first + i) * channels_);
    }

    const std::int64_t count_, anchors_, channels_, width_;
    const Real scale_;
    const int threads_;
    std::vector<std::int64_t> labels_;
    std::vector<Real> rows_, panels_;
};

}  // namespace asl
