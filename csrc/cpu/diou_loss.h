// SPDX-License-Identifier: Apache-2.0
// DIoU loss of many rows with its derivatives, in one pass over the offsets.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/diou_loss.h"
#include "cpu/buffers.h"
#include "cpu/simd.h"
#include "cpu/sums.h"

namespace asl {

struct DiouInput {
    Source pred, target;  // (rows, 2)
    Source weights;       // (rows,) or absent
    std::int64_t rows;
};

struct DiouOutput {
    Sink loss;                    // (rows,), or one value if reduced
    Sink grad_pred, grad_target;  // (rows, 2) or absent
    Sink grad_weights;            // (rows,) or absent
};

template <class Real>
struct DiouLoop {
    static ASL_HOST_DEVICE void run(const Real* __restrict pred, const Real* __restrict target, std::int64_t count,
                                    Real eps, Real* __restrict loss, Real* __restrict grad_pred,
                                    Real* __restrict grad_target) {
        for (std::int64_t i = 0; i < count; ++i) {
            const DiouRow<Real> row = diou_row(pred[2 * i], pred[2 * i + 1], target[2 * i], target[2 * i + 1], eps);
            loss[i] = row.loss;
            grad_pred[2 * i] = row.pred[0];
            grad_pred[2 * i + 1] = row.pred[1];
            grad_target[2 * i] = row.target[0];
            grad_target[2 * i + 1] = row.target[1];
        }
    }
};

template <class Real>
class DiouLoss {
  public:
    DiouLoss(const DiouInput& input, Reduction reduction, double eps, const DiouOutput& output)
        : in_(input), out_(output), reduction_(reduction), eps_(static_cast<Real>(eps)) {}

    void run(int threads) {
        const double factor =
            reduction_ == Reduction::kMean ? 1.0 / static_cast<double>(std::max<std::int64_t>(1, in_.rows)) : 1.0;
        factor_ = static_cast<Real>(factor);
        const auto chunk = [this](std::int64_t begin, std::int64_t end) {
            double sum = 0.0;
            for (std::int64_t row = begin; row < end; row += kBlock) sum += evaluate(row, std::min(kBlock, end - row));
            return sum;
        };
        const int useful = worthwhile_threads(in_.rows, kWorthAThread, threads);
        const double sum = parallel_sum(in_.rows, kBlocksPerChunk * kBlock, useful, chunk);
        if (reduction_ == Reduction::kNone) return;
        const Real total = static_cast<Real>(sum * factor);
        store(&total, 1, out_.loss, 0);
    }

  private:
    static constexpr std::int64_t kBlock = 256;  // rows
    static constexpr std::int64_t kBlocksPerChunk = 64;
    static constexpr std::int64_t kWorthAThread = 250000;

    double evaluate(std::int64_t row, std::int64_t rows) const {
        Real pred[2 * kBlock], target[2 * kBlock], grad_pred[2 * kBlock], grad_target[2 * kBlock];
        Real loss[kBlock], weight[kBlock];
        const Real factor = factor_;
        load(in_.pred, 2 * row, 2 * rows, pred);
        load(in_.target, 2 * row, 2 * rows, target);
        simd_call<DiouLoop<Real>>(simd_level(), static_cast<const Real*>(pred), static_cast<const Real*>(target), rows,
                                  eps_, static_cast<Real*>(loss), static_cast<Real*>(grad_pred),
                                  static_cast<Real*>(grad_target));
        if (out_.grad_weights) {
            for (std::int64_t i = 0; i < rows; ++i) weight[i] = loss[i] * factor;
            store(weight, rows, out_.grad_weights, row);
        }
        std::fill(weight, weight + rows, Real(1));
        if (in_.weights) load(in_.weights, row, rows, weight);
        for (std::int64_t i = 0; i < rows; ++i) {
            loss[i] *= weight[i];
            weight[i] *= factor;
        }
        if (out_.grad_pred) store_grad(grad_pred, weight, rows, out_.grad_pred, row);
        if (out_.grad_target) store_grad(grad_target, weight, rows, out_.grad_target, row);
        if (reduction_ != Reduction::kNone) return lane_sum(loss, rows);
        store(loss, rows, out_.loss, row);
        return 0.0;
    }

    static void store_grad(Real* __restrict grad, const Real* __restrict weight, std::int64_t rows, const Sink& to,
                           std::int64_t row) {
        for (std::int64_t i = 0; i < rows; ++i) {
            grad[2 * i] *= weight[i];
            grad[2 * i + 1] *= weight[i];
        }
        store(grad, 2 * rows, to, 2 * row);
    }

    const DiouInput in_;
    const DiouOutput out_;
    const Reduction reduction_;
    const Real eps_;
    Real factor_ = 1;
};

}  // namespace asl
