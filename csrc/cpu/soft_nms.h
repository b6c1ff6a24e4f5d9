// SPDX-License-Identifier: Apache-2.0
// Temporal soft-NMS of one video.
//
// Scores only fall, so a stale score is an upper bound: candidates wait in a heap by their last known score, and only
// the one on top is brought up to date, against the segments of its class selected since it was last scored and
// skipping those it does not overlap (their factor is exactly 1). All classes of a video share one heap, because the
// merged result needs no more than its own first max_segments selections of any class.
//
// For the Gaussian method the update gives a bound (one exponential for any number of segments). A candidate that is on
// top with all segments accounted for gets its exact score, with the roundings of the sequential algorithm, and is
// selected if it is still on top.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>
#include <unordered_map>
#include <vector>

#include "common/soft_nms.h"

namespace asl {

struct NmsInput {
    const float* segments;            // (N, 2)
    const float* scores;              // (N,)
    const std::int64_t* labels;       // (N,) or null: class-agnostic
    const std::int64_t* video_index;  // (N,) or null: one video
    std::int64_t count;
};

struct NmsOutput {
    std::int64_t* indices;  // (rows,)
    float* segments;        // (rows, 2)
    float* scores;          // (rows,)
};

/// The selected segments of one class that can suppress others, in order of selection.
class Selected {
  public:
    void clear() {
        size_ = 0;
        start_.clear();
        end_.clear();
    }

    std::uint32_t size() const { return size_; }

    void add(float start, float end) {
        if (size_ + kBlock > start_.size()) {
            // A block that begins at any segment can be read; what fills it up overlaps nothing.
            start_.resize(2 * size_ + kBlock, std::numeric_limits<float>::infinity());
            end_.resize(2 * size_ + kBlock, -std::numeric_limits<float>::infinity());
        }
        start_[size_] = start;
        end_[size_] = end;
        ++size_;
    }

    /// Score of a candidate after the segments from position `from` on; negative once suppressed or below min_score.
    float decayed(float score, float start, float end, std::uint32_t from, const NmsOptions& options) const {
        const float area = nms_area(start, end);
        for (std::uint32_t first = from; first < size_; first += kBlock) {
            for (std::uint32_t hits = overlaps(first, start, end); hits; hits &= hits - 1) {
                const std::uint32_t i = first + static_cast<std::uint32_t>(__builtin_ctz(hits));
                const float inter = std::min(end, end_[i]) - std::max(start, start_[i]);
                const float factor = nms_decay(inter, nms_area(start_[i], end_[i]), area, options);
                score *= factor;
                if (factor < 0.0f || !(score >= options.min_score)) return -1.0f;
            }
        }
        return score;
    }

    /// At least what decayed() gives for the Gaussian method, hardly more, and with one exponential for all segments.
    float bound(float score, float start, float end, std::uint32_t from, const NmsOptions& options) const {
        const Float4 starts = splat(start), ends = splat(end), area = splat(nms_area(start, end)), zero{};
        Float4 squares{};
        int factors = 0;
        for (std::uint32_t first = from; first < size_; first += kBlock) {
            const std::uint32_t hits = overlaps(first, start, end);
            if (hits == 0) continue;
            factors += __builtin_popcount(hits);
            for (std::uint32_t i = first; i < first + kBlock; i += 4) {
                const Float4 other_starts = load(start_, i), other_ends = load(end_, i);
                const Float4 inter = larger(zero, smaller(ends, other_ends) - larger(starts, other_starts));
                const Float4 iou = inter / ((((other_ends - other_starts) + splat(1e-6f)) + area) - inter);
                squares += iou * iou;
            }
        }
        const float exponent = (squares[0] + squares[1] + squares[2] + squares[3]) / options.sigma;
        return nms_bound(score, exponent, factors);
    }

  private:
    using Float4 = float __attribute__((vector_size(16)));
    using Int4 = std::int32_t __attribute__((vector_size(16)));
    static constexpr std::uint32_t kBlock = 16;

    static Float4 splat(float x) { return Float4{x, x, x, x}; }
    static Float4 smaller(Float4 a, Float4 b) { return a < b ? a : b; }
    static Float4 larger(Float4 a, Float4 b) { return a > b ? a : b; }
    static Float4 load(const std::vector<float>& values, std::uint32_t at) {
        Float4 loaded;
        std::memcpy(&loaded, values.data() + at, sizeof(loaded));
        return loaded;
    }

    /// Bit i: whether segment first + i overlaps (start, end).
    std::uint32_t overlaps(std::uint32_t first, float start, float end) const {
        Int4 found{}, bits{1, 2, 4, 8};
        for (std::uint32_t i = first; i < first + kBlock; i += 4) {
            found |= (load(start_, i) < splat(end)) & (load(end_, i) > splat(start)) & bits;
            bits <<= 4;
        }
        return static_cast<std::uint32_t>(found[0] | found[1] | found[2] | found[3]);
    }

    std::uint32_t size_ = 0;
    std::vector<float> start_, end_;
};

/// Moves the root of a max-heap down to its place.
inline void sift_down(std::vector<std::uint64_t>& heap) {
    std::uint64_t* keys = heap.data();
    const std::size_t size = heap.size();
    const std::uint64_t key = keys[0];
    std::size_t at = 0, child = 1;
    for (; child + 1 < size; child = 2 * at + 1) {
        child += keys[child + 1] > keys[child];  // no branch: which child is larger cannot be predicted
        if (keys[child] <= key) break;
        keys[at] = keys[child];
        at = child;
    }
    if (child + 1 == size && keys[child] > key) {
        keys[at] = keys[child];
        at = child;
    }
    keys[at] = key;
}

inline void pop_root(std::vector<std::uint64_t>& heap) {
    heap[0] = heap.back();
    heap.pop_back();
    if (!heap.empty()) sift_down(heap);
}

/// Candidates of one video sorted into bins by start, so that a vote visits only those that can overlap enough.
class StartBins {
  public:
    template <class StartOf>
    void build(std::uint32_t count, const StartOf& start_of) {
        float low = start_of(0), high = low;
        for (std::uint32_t i = 1; i < count; ++i) {
            low = std::min(low, start_of(i));
            high = std::max(high, start_of(i));
        }
        bins_ = count / 4 + 1;
        low_ = low;
        scale_ = high > low ? static_cast<float>(bins_) / (high - low) : 0.0f;
        offsets_.assign(bins_ + 1, 0);
        for (std::uint32_t i = 0; i < count; ++i) ++offsets_[bin(start_of(i)) + 1];
        std::partial_sum(offsets_.begin(), offsets_.end(), offsets_.begin());
        fill_ = offsets_;
        members_.resize(count);
        for (std::uint32_t i = 0; i < count; ++i) members_[fill_[bin(start_of(i))]++] = i;
    }

    template <class Visit>
    void visit(float from, float to, const Visit& visit) const {
        const std::uint32_t end = offsets_[bin(to) + 1];
        for (std::uint32_t i = offsets_[bin(from)]; i < end; ++i) visit(members_[i]);
    }

  private:
    std::uint32_t bin(float start) const {
        const float at = (start - low_) * scale_;
        if (!(at > 0.0f)) return 0;
        return at < static_cast<float>(bins_) ? std::min(static_cast<std::uint32_t>(at), bins_ - 1) : bins_ - 1;
    }

    std::uint32_t bins_ = 1;
    float low_ = 0.0f, scale_ = 0.0f;
    std::vector<std::uint32_t> offsets_, fill_, members_;
};

/// Soft-NMS of one video after the other; the memory is reused.
class SoftNms {
  public:
    SoftNms(const NmsInput& input, const NmsOptions& options) : input_(input), options_(options) {}

    /// `order`: the input rows of the video in ascending order, or null where they are base, base + 1, ...
    /// Writes at most nms_limit rows to output and returns how many.
    std::int64_t run(const std::int64_t* order, std::int64_t base, std::int64_t count, const NmsOutput& output) {
        order_ = order;
        base_ = base;
        count_ = static_cast<std::uint32_t>(count);
        output_ = output;
        limit_ = nms_limit(count, options_);
        kept_ = 0;
        select();
        if (options_.keep_best && kept_ < limit_) select_best_below();
        if (options_.voting_threshold > 0.0f && kept_ > 0) vote();
        return kept_;
    }

  private:
    std::int64_t row(std::uint32_t i) const { return order_ ? order_[i] : base_ + i; }
    float start(std::uint32_t i) const { return input_.segments[2 * row(i)]; }
    float end(std::uint32_t i) const { return input_.segments[2 * row(i) + 1]; }
    float score(std::uint32_t i) const { return input_.scores[row(i)]; }
    std::int64_t label(std::uint32_t i) const { return input_.labels ? input_.labels[row(i)] : 0; }

    void keep(std::uint32_t i, float score) {
        output_.indices[kept_] = row(i);
        output_.segments[2 * kept_] = start(i);
        output_.segments[2 * kept_ + 1] = end(i);
        output_.scores[kept_] = score;
        ++kept_;
    }

    Selected& selected_of(std::uint32_t i) {
        if (!input_.labels && !slots_.empty()) return selected_[0];
        const auto [found, is_new] = slots_.try_emplace(label(i), slots_.size());
        if (is_new) {
            if (selected_.size() < slots_.size()) selected_.emplace_back();
            selected_[found->second].clear();
        }
        return selected_[found->second];
    }

    void select() {
        slots_.clear();
        heap_.clear();
        for (std::uint32_t i = 0; i < count_; ++i)
            if (score(i) >= options_.min_score) heap_.push_back(nms_key(score(i), i));
        std::make_heap(heap_.begin(), heap_.end());
        scored_against_.assign(count_, 0);
        while (!heap_.empty() && kept_ < limit_) {
            const std::uint32_t i = nms_key_index(heap_[0]);
            const float from = start(i), to = end(i);
            const bool has_length = to > from;  // else it overlaps nothing
            Selected& selected = selected_of(i);
            if (has_length && scored_against_[i] != selected.size()) {
                const float bound = updated(selected, nms_key_score(heap_[0]), from, to, scored_against_[i]);
                scored_against_[i] = selected.size();
                replace_root(i, bound);
                continue;
            }
            const float exact = has_length ? selected.decayed(score(i), from, to, 0, options_) : score(i);
            replace_root(i, exact);
            if (heap_.empty() || nms_key_index(heap_[0]) != i) continue;
            keep(i, exact);
            if (has_length) selected.add(from, to);
            pop_root(heap_);
        }
    }

    /// An upper bound of the candidate's score; negative once it is out.
    float updated(const Selected& selected, float score, float from, float to, std::uint32_t position) const {
        return options_.method == NmsMethod::kGaussian ? selected.bound(score, from, to, position, options_)
                                                       : selected.decayed(score, from, to, position, options_);
    }

    void replace_root(std::uint32_t i, float score) {
        if (score >= options_.min_score) {
            heap_[0] = nms_key(score, i);
            sift_down(heap_);
        } else {
            pop_root(heap_);
        }
    }

    /// The best candidate of every class that has none at min_score or above.
    void select_best_below() {
        best_below_.clear();
        for (std::uint32_t i = 0; i < count_; ++i) {
            if (!(score(i) < options_.min_score) || slots_.count(label(i))) continue;
            const auto [found, is_new] = best_below_.try_emplace(label(i), i);
            if (!is_new && score(i) > score(found->second)) found->second = i;
        }
        std::vector<std::uint32_t> best;
        for (const auto& entry : best_below_) best.push_back(entry.second);
        std::sort(best.begin(), best.end(), [this](std::uint32_t a, std::uint32_t b) {
            return score(a) != score(b) ? score(a) > score(b) : a < b;
        });
        for (std::size_t k = 0; k < best.size() && kept_ < limit_; ++k) keep(best[k], score(best[k]));
    }

    /// Moves each kept segment to the mean of the candidates of its class that overlap it, weighted by score * IoU.
    void vote() {
        bins_.build(count_, [this](std::uint32_t i) { return start(i); });
        for (std::int64_t k = 0; k < kept_; ++k) {
            float* segment = output_.segments + 2 * k;
            const float from = segment[0], to = segment[1];
            if (!(to > from)) continue;
            const std::int64_t own = input_.labels ? input_.labels[output_.indices[k]] : 0;
            const float reach = vote_reach(to - from, options_);
            double weights = 0.0, starts = 0.0, ends = 0.0;
            bins_.visit(from - reach, from + reach, [&](std::uint32_t i) {
                if (label(i) != own) return;
                const double weight = vote_weight(from, to, start(i), end(i), score(i), options_);
                weights += weight;
                starts += weight * start(i);
                ends += weight * end(i);
            });
            if (!(weights > 0.0)) continue;
            segment[0] = static_cast<float>(starts / weights);
            segment[1] = static_cast<float>(ends / weights);
        }
    }

    const NmsInput& input_;
    const NmsOptions& options_;
    const std::int64_t* order_ = nullptr;
    std::int64_t base_ = 0, limit_ = 0, kept_ = 0;
    std::uint32_t count_ = 0;
    NmsOutput output_{};
    std::vector<std::uint64_t> heap_;
    std::vector<std::uint32_t>
        scored_against_;  // per candidate: how many selected segments its known score accounts for
    std::unordered_map<std::int64_t, std::size_t> slots_;  // label -> position in selected_
    std::vector<Selected> selected_;
    std::unordered_map<std::int64_t, std::uint32_t> best_below_;
    StartBins bins_;
};

}  // namespace asl
