// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "compare.h"
#include "cpu/diou_loss.h"
#include "harness.h"

namespace {

double plain(const double* p, const double* t) {
    const double inter = std::min(p[0], t[0]) + std::min(p[1], t[1]);
    const double total = std::max(p[0], t[0]) + std::max(p[1], t[1]);
    const double between = ((p[1] - p[0]) - (t[1] - t[0])) / 2;
    return 1 - inter / total + between * between / (total * total);
}

struct Result {
    std::vector<float> loss, grad_pred, grad_target, grad_weights;
};

Result run(const std::vector<float>& pred, const std::vector<float>& target, const std::vector<float>& weights,
           asl::Reduction reduction, int threads) {
    const std::size_t rows = weights.size();
    const float nan = std::numeric_limits<float>::quiet_NaN();
    Result result{std::vector<float>(reduction == asl::Reduction::kNone ? rows : 1, nan),
                  std::vector<float>(2 * rows, nan), std::vector<float>(2 * rows, nan), std::vector<float>(rows, nan)};
    const auto in = [](const std::vector<float>& values) { return asl::Source(values.data(), asl::Dtype::kFloat32); };
    const auto out = [](std::vector<float>& values) { return asl::Sink(values.data(), asl::Dtype::kFloat32); };
    const asl::DiouInput input{in(pred), in(target), in(weights), static_cast<std::int64_t>(rows)};
    const asl::DiouOutput output{out(result.loss), out(result.grad_pred), out(result.grad_target),
                                 out(result.grad_weights)};
    asl::DiouLoss<float>(input, reduction, 1e-8, output).run(threads);
    return result;
}

}  // namespace

TEST(diou_row_equals_the_formula_and_its_differences) {
    compare::Random random(5);
    for (int repeat = 0; repeat < 2000; ++repeat) {
        double at[4];
        for (double& value : at) value = random.uniform(0.1, 4.0);
        const auto row = asl::diou_row(at[0], at[1], at[2], at[3], 1e-8);
        CHECK(compare::close(row.loss, plain(at, at + 2), 0.0, 1e-14));
        const double found[] = {row.pred[0], row.pred[1], row.target[0], row.target[1]};
        for (int k = 0; k < 4; ++k) {
            const double step = 1e-6, value = at[k];
            at[k] = value + step;
            const double above = plain(at, at + 2);
            at[k] = value - step;
            const double below = plain(at, at + 2);
            at[k] = value;
            CHECK(compare::close(found[k], (above - below) / (2 * step), 1e-6, 1e-8));
        }
    }
}

TEST(diou_row_is_defined_at_ties_and_without_length) {
    const auto same = asl::diou_row(1.5f, 2.5f, 1.5f, 2.5f, 1e-8f);
    CHECK(same.loss == 0.0f && same.pred[0] == 0.0f && same.target[1] == 0.0f);
    for (const float eps : {1e-8f, 0.0f}) {
        const auto none = asl::diou_row(0.0f, 0.0f, 0.0f, 0.0f, eps);
        CHECK(none.loss == 1.0f && none.pred[0] == 0.0f && none.pred[1] == 0.0f && none.target[0] == 0.0f);
    }
    const float nan = std::numeric_limits<float>::quiet_NaN();
    for (int k = 0; k < 4; ++k) {
        float at[] = {1.0f, 2.0f, 3.0f, 4.0f};
        at[k] = nan;
        CHECK(std::isnan(asl::diou_row(at[0], at[1], at[2], at[3], 1e-8f).loss));
    }
}

TEST(diou_loss_weights_reduces_and_differentiates) {
    compare::Random random(6);
    for (const std::int64_t rows : {1, 2, 255, 257, 1000}) {
        const auto pred = random.values<float>(2 * rows, 0.0, 4.0), target = random.values<float>(2 * rows, 0.0, 4.0);
        const auto weights = random.values<float>(rows, 0.0, 2.0);
        for (const auto reduction : {asl::Reduction::kNone, asl::Reduction::kSum, asl::Reduction::kMean}) {
            const double factor = reduction == asl::Reduction::kMean ? 1.0 / static_cast<double>(rows) : 1.0;
            const Result found = run(pred, target, weights, reduction, 1);
            double total = 0.0;
            for (std::int64_t i = 0; i < rows; ++i) {
                const auto row =
                    asl::diou_row<double>(pred[2 * i], pred[2 * i + 1], target[2 * i], target[2 * i + 1], 1e-8);
                for (int k = 0; k < 2; ++k) {
                    const double by = weights[i] * factor;
                    CHECK(compare::close(found.grad_pred[2 * i + k], row.pred[k] * by, 1e-5, 1e-6 * factor));
                    CHECK(compare::close(found.grad_target[2 * i + k], row.target[k] * by, 1e-5, 1e-6 * factor));
                }
                CHECK(compare::close(found.grad_weights[i], row.loss * factor, 1e-6, 1e-6 * factor));
                if (reduction == asl::Reduction::kNone)
                    CHECK(compare::close(found.loss[i], row.loss * weights[i], 1e-6, 1e-6));
                total += row.loss * weights[i];
            }
            if (reduction != asl::Reduction::kNone) CHECK(compare::close(found.loss[0], total * factor, 1e-6));
        }
    }
}

TEST(diou_loss_is_the_same_for_any_number_of_threads) {
    compare::Random random(7);
    const std::int64_t rows = 510001;
    const auto pred = random.values<float>(2 * rows, 0.0, 4.0), target = random.values<float>(2 * rows, 0.0, 4.0);
    const auto weights = random.values<float>(rows, 0.0, 2.0);
    const Result expected = run(pred, target, weights, asl::Reduction::kSum, 1);
    for (const int threads : {2, 5}) {
        const Result found = run(pred, target, weights, asl::Reduction::kSum, threads);
        CHECK(found.loss == expected.loss);
        CHECK(found.grad_pred == expected.grad_pred);
        CHECK(found.grad_target == expected.grad_target);
    }
}
