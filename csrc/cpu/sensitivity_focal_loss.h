// SPDX-License-Identifier: Apache-2.0
// Sensitivity-weighted sigmoid focal loss with its derivatives, in one pass over the logits.
//
// A block of rows that fits the first-level cache is converted, expanded to dense targets and weights, evaluated by one
// loop of vector instructions, and written. A block whose rows are all left out is not even read.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <type_traits>

#include "common/sensitivity_focal_loss.h"
#include "cpu/buffers.h"
#include "cpu/simd.h"
#include "cpu/sums.h"

namespace asl {

struct FocalInput {
    Source logits;            // (rows, classes)
    Source targets;           // (rows, classes); absent where ids are given
    const std::int64_t* ids;  // (rows,) class of each row, -1 for background; or null
    Source weights;           // (rows,), (rows, classes) or absent
    bool row_weights;
    const std::uint8_t* mask;  // (rows,), 0 leaves the row out; or null
    std::int64_t rows, classes;
};

struct FocalOptions {
    double alpha, gamma, label_smoothing;
    Reduction reduction;
};

struct FocalOutput {
    Sink loss;          // (rows, classes), or one value if reduced
    Sink grad_logits;   // (rows, classes) or absent
    Sink grad_weights;  // as the weights; (rows, classes) if not reduced; or absent
};

template <bool kSquare, class Real>
struct FocalLoop {
    static ASL_HOST_DEVICE void run(const Real* __restrict x, const Real* __restrict t, std::int64_t count,
                                    FocalRule<Real> rule, Real* __restrict loss, Real* __restrict slope) {
        for (std::int64_t i = 0; i < count; ++i) {
            const FocalElement<Real> element = focal_element<kSquare>(x[i], t[i], rule);
            loss[i] = element.loss;
            slope[i] = element.slope;
        }
    }
};

template <class Real>
struct MultiplyLoop {
    static ASL_HOST_DEVICE void run(Real* __restrict values, const Real* __restrict by, std::int64_t count) {
        for (std::int64_t i = 0; i < count; ++i) values[i] *= by[i];
    }
};

template <class Real>
class FocalLoss {
  public:
    FocalLoss(const FocalInput& input, const FocalOptions& options, const FocalOutput& output)
        : in_(input), options_(options), out_(output), rule_(focal_rule<Real>(options.alpha, options.gamma)) {
        block_rows_ = std::max<std::int64_t>(1, kBlock / std::max<std::int64_t>(1, in_.classes));
        keep_ = static_cast<Real>(1.0 - options.label_smoothing);
        add_ = static_cast<Real>(options.label_smoothing / static_cast<double>(in_.classes + 1));
    }

    void run(int threads) {
        const std::int64_t elements = in_.rows * in_.classes;
        const double factor = options_.reduction == Reduction::kMean ? 1.0 / static_cast<double>(kept()) : 1.0;
        factor_ = static_cast<Real>(factor);
        const auto chunk = [&](std::int64_t begin, std::int64_t end) {
            const std::size_t size = static_cast<std::size_t>(block_rows_ * in_.classes);
            const std::unique_ptr<Real[]> memory(new Real[5 * size]);
            Real* at = memory.get();
            const Block block{at, at + size, at + 2 * size, at + 3 * size, at + 4 * size};
            double sum = 0.0;
            for (std::int64_t row = begin; row < end; row += block_rows_)
                sum += evaluate(row, std::min(block_rows_, end - row), block);
            return sum;
        };
        const std::int64_t grain = kBlocksPerChunk * block_rows_;
        const double sum = parallel_sum(in_.rows, grain, worthwhile_threads(elements, kWorthAThread, threads), chunk);
        if (options_.reduction == Reduction::kNone) return;
        const Real total = static_cast<Real>(sum * factor);
        store(&total, 1, out_.loss, 0);
    }

  private:
    static constexpr std::int64_t kBlock = 1024;  // elements: five arrays of them in the first-level cache
    static constexpr std::int64_t kBlocksPerChunk = 16;
    static constexpr std::int64_t kWorthAThread = 400000;  // elements

    struct Block {
        Real *x, *t, *weight, *loss, *slope;
    };

    /// Elements that the mean divides by.
    std::int64_t kept() const {
        const std::int64_t rows = in_.mask ? in_.rows - std::count(in_.mask, in_.mask + in_.rows, 0) : in_.rows;
        return std::max<std::int64_t>(1, rows * in_.classes);
    }

    /// Writes `rows` rows from `row` on and returns the sum of their losses.
    double evaluate(std::int64_t row, std::int64_t rows, const Block& block) const {
        const std::int64_t count = rows * in_.classes, first = row * in_.classes;
        if (leaves_out(row, rows)) return write_nothing(row, rows, block.loss);
        const Real* x = load_logits(row, rows, block.x);
        const Real* t = load_targets(row, rows, block.t);
        if (in_.weights) load_weights(row, rows, block.weight, block.loss);
        const bool direct = out_.grad_logits && out_.grad_logits.dtype == kDtypeOf<Real>;
        Real* slope = direct ? static_cast<Real*>(out_.grad_logits.data) + first : block.slope;
        evaluate_elements(x, t, count, block.loss, slope);
        if (in_.mask) clear_masked(row, rows, {block.loss, slope});

        if (out_.grad_weights) store_grad_weights(row, rows, block.loss, block.x);
        if (in_.weights) {
            multiply(block.loss, block.weight, count);
            multiply(slope, block.weight, count);
        }
        if (out_.grad_logits) {
            scale(slope, count);
            if (!direct) store(slope, count, out_.grad_logits, first);
        }
        if (options_.reduction != Reduction::kNone) return lane_sum(block.loss, count);
        store(block.loss, count, out_.loss, first);
        return 0.0;
    }

    bool leaves_out(std::int64_t row, std::int64_t rows) const {
        if (!in_.mask) return false;
        const std::uint8_t* mask = in_.mask + row;
        return std::all_of(mask, mask + rows, [](std::uint8_t counts) { return counts == 0; });
    }

    /// Writes what rows that are left out have, zero in every result, and returns the sum of their losses.
    double write_nothing(std::int64_t row, std::int64_t rows, Real* scratch) const {
        const std::int64_t count = rows * in_.classes, first = row * in_.classes;
        const bool reduced = options_.reduction != Reduction::kNone;
        std::fill(scratch, scratch + count, Real(0));
        if (out_.grad_logits) store(scratch, count, out_.grad_logits, first);
        if (out_.grad_weights) {
            const bool by_row = reduced && in_.row_weights;
            store(scratch, by_row ? rows : count, out_.grad_weights, by_row ? row : first);
        }
        if (!reduced) store(scratch, count, out_.loss, first);
        return 0.0;
    }

    void evaluate_elements(const Real* x, const Real* t, std::int64_t count, Real* loss, Real* slope) const {
        if constexpr (std::is_same_v<Real, float>) {
            if (options_.gamma == 2.0)
                return simd_call<FocalLoop<true, Real>>(simd_level(), x, t, count, rule_, loss, slope);
        }
        FocalLoop<false, Real>::run(x, t, count, rule_, loss, slope);
    }

    const Real* load_logits(std::int64_t row, std::int64_t rows, Real* scratch) const {
        const std::int64_t count = rows * in_.classes, first = row * in_.classes;
        if (!in_.mask) return view_or_load(in_.logits, first, count, scratch);
        load(in_.logits, first, count, scratch);
        clear_masked(row, rows, {scratch});
        return scratch;
    }

    const Real* load_targets(std::int64_t row, std::int64_t rows, Real* scratch) const {
        const std::int64_t count = rows * in_.classes, first = row * in_.classes;
        const Real keep = keep_, add = add_;
        if (in_.targets) {
            if (!in_.mask && options_.label_smoothing == 0.0) return view_or_load(in_.targets, first, count, scratch);
            load(in_.targets, first, count, scratch);
            if (options_.label_smoothing != 0.0)
                for (std::int64_t i = 0; i < count; ++i) scratch[i] = scratch[i] * keep + add;
        } else {
            std::fill(scratch, scratch + count, add);
            for (std::int64_t r = 0; r < rows; ++r) {
                const std::int64_t id = in_.ids[row + r];
                if (id >= 0 && id < in_.classes) scratch[r * in_.classes + id] = keep + add;
            }
        }
        if (in_.mask) clear_masked(row, rows, {scratch});
        return scratch;
    }

    /// `scratch` is overwritten.
    void load_weights(std::int64_t row, std::int64_t rows, Real* weight, Real* scratch) const {
        if (in_.row_weights) {
            const Real* of_row = view_or_load(in_.weights, row, rows, scratch);
            for (std::int64_t r = 0; r < rows; ++r)
                std::fill(weight + r * in_.classes, weight + (r + 1) * in_.classes, of_row[r]);
        } else {
            load(in_.weights, row * in_.classes, rows * in_.classes, weight);
        }
        if (in_.mask) clear_masked(row, rows, {weight});
    }

    void clear_masked(std::int64_t row, std::int64_t rows, std::initializer_list<Real*> arrays) const {
        for (std::int64_t r = 0; r < rows; ++r)
            for (Real* array : arrays)
                if (!in_.mask[row + r]) std::fill(array + r * in_.classes, array + (r + 1) * in_.classes, Real(0));
    }

    /// `scratch` is overwritten.
    void store_grad_weights(std::int64_t row, std::int64_t rows, const Real* loss, Real* scratch) const {
        const std::int64_t count = rows * in_.classes;
        if (options_.reduction == Reduction::kNone || !in_.row_weights) {
            std::copy(loss, loss + count, scratch);
            scale(scratch, count);
            return store(scratch, count, out_.grad_weights, row * in_.classes);
        }
        for (std::int64_t r = 0; r < rows; ++r)
            scratch[r] = static_cast<Real>(lane_sum(loss + r * in_.classes, in_.classes));
        scale(scratch, rows);
        store(scratch, rows, out_.grad_weights, row);
    }

    static void multiply(Real* values, const Real* by, std::int64_t count) {
        simd_call<MultiplyLoop<Real>>(simd_level(), values, by, count);
    }

    void scale(Real* values, std::int64_t count) const {
        const Real factor = factor_;
        if (factor == Real(1)) return;
        for (std::int64_t i = 0; i < count; ++i) values[i] *= factor;
    }

    const FocalInput in_;
    const FocalOptions options_;
    const FocalOutput out_;
    const FocalRule<Real> rule_;
    std::int64_t block_rows_;
    Real keep_, add_, factor_ = 1;
};

}  // namespace asl
