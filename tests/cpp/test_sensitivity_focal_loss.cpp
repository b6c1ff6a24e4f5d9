// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "compare.h"
#include "cpu/sensitivity_focal_loss.h"
#include "harness.h"

namespace {

/// The formula in long double, straight from the paper, and its slope by the chain rule.
asl::FocalElement<long double> plain(long double x, long double t, long double alpha, long double gamma) {
    const long double p = 1 / (1 + std::exp(-x)), q = 1 / (1 + std::exp(x));
    const auto softplus = [](long double y) { return y > 0 ? y + std::log1p(std::exp(-y)) : std::log1p(std::exp(y)); };
    const long double cross_entropy = t * softplus(-x) + (1 - t) * softplus(x), miss = p * (1 - t) + q * t;
    const long double factor = alpha < 0 ? 1 : alpha * t + (1 - alpha) * (1 - t);
    const long double inner = miss > 0 ? gamma * std::pow(miss, gamma - 1) * p * q * (1 - 2 * t) : 0;
    return {factor * std::pow(miss, gamma) * cross_entropy,
            factor * (inner * cross_entropy + std::pow(miss, gamma) * (p - t))};
}

struct Problem {
    std::int64_t rows = 203, classes = 21;
    std::vector<float> logits, targets, weights, row_weights;
    std::vector<std::int64_t> ids;
    std::vector<std::uint8_t> mask;

    Problem() {
        compare::Random random(3);
        logits = random.values<float>(rows * classes, -9.0, 9.0);
        targets = random.values<float>(rows * classes, 0.0, 1.0);
        weights = random.values<float>(rows * classes, 0.0, 2.0);
        row_weights = random.values<float>(rows, 0.0, 2.0);
        for (std::int64_t row = 0; row < rows; ++row) {
            ids.push_back(random.below(classes + 1) - 1);
            mask.push_back(random.uniform() < 0.7);
        }
    }
};

struct Result {
    std::vector<float> loss, grad_logits, grad_weights;
};

struct Choice {
    bool sparse, by_row, masked;
    asl::Reduction reduction;
};

Result run(const Problem& problem, const Choice& choice, int threads) {
    const std::int64_t size = problem.rows * problem.classes;
    const bool reduced = choice.reduction != asl::Reduction::kNone;
    const float nan = std::numeric_limits<float>::quiet_NaN();
    Result result;
    result.loss.assign(reduced ? 1 : size, nan);
    result.grad_logits.assign(size, nan);
    result.grad_weights.assign(reduced && choice.by_row ? problem.rows : size, nan);
    const auto in = [](const std::vector<float>& values) { return asl::Source(values.data(), asl::Dtype::kFloat32); };
    const auto out = [](std::vector<float>& values) { return asl::Sink(values.data(), asl::Dtype::kFloat32); };
    const asl::FocalInput input{in(problem.logits),
                                choice.sparse ? asl::Source() : in(problem.targets),
                                choice.sparse ? problem.ids.data() : nullptr,
                                in(choice.by_row ? problem.row_weights : problem.weights),
                                choice.by_row,
                                choice.masked ? problem.mask.data() : nullptr,
                                problem.rows,
                                problem.classes};
    const asl::FocalOutput output{out(result.loss), out(result.grad_logits), out(result.grad_weights)};
    asl::FocalLoss<float>(input, {0.25, 2.0, 0.1, choice.reduction}, output).run(threads);
    return result;
}

void check(const Problem& problem, const Choice& choice, const Result& found) {
    const bool reduced = choice.reduction != asl::Reduction::kNone;
    std::int64_t kept = 0;
    for (std::int64_t row = 0; row < problem.rows; ++row) kept += !choice.masked || problem.mask[row];
    const double factor =
        choice.reduction == asl::Reduction::kMean ? 1.0 / static_cast<double>(kept * problem.classes) : 1.0;
    double total = 0.0;
    for (std::int64_t row = 0; row < problem.rows; ++row) {
        const double in = !choice.masked || problem.mask[row];
        double of_row = 0.0;
        for (std::int64_t c = 0; c < problem.classes; ++c) {
            const std::int64_t i = row * problem.classes + c;
            const double hard = choice.sparse ? problem.ids[row] == c : problem.targets[i];
            const double t = hard * 0.9 + 0.1 / static_cast<double>(problem.classes + 1);
            const auto element = plain(problem.logits[i], t, 0.25L, 2.0L);
            const double weight = choice.by_row ? problem.row_weights[row] : problem.weights[i];
            const double loss = in * static_cast<double>(element.loss), slope = in * static_cast<double>(element.slope);
            CHECK(compare::close(found.grad_logits[i], slope * weight * factor, 3e-6, 1e-6 * factor));
            if (!reduced) CHECK(compare::close(found.loss[i], loss * weight, 2e-6, 1e-9));
            if (!reduced || !choice.by_row) CHECK(compare::close(found.grad_weights[i], loss * factor, 2e-6, 1e-9));
            of_row += loss;
            total += loss * weight;
        }
        if (reduced && choice.by_row) CHECK(compare::close(found.grad_weights[row], of_row * factor, 2e-6, 1e-9));
    }
    if (reduced) CHECK(compare::close(found.loss[0], total * factor, 1e-6));
}

}  // namespace

TEST(focal_element_keeps_its_digits_everywhere) {
    for (const double gamma : {0.0, 0.5, 1.0, 2.0, 3.0}) {
        const auto rule = asl::focal_rule<float>(0.25, gamma);
        const auto rule64 = asl::focal_rule<double>(0.25, gamma);
        for (int step = -400; step <= 400; ++step) {
            const float x = static_cast<float>(step) / 20.0f;
            for (const float t : {0.0f, 1.0f, 0.25f}) {
                const auto expected = plain(x, t, 0.25L, gamma);
                const auto found =
                    gamma == 2.0 ? asl::focal_element<true>(x, t, rule) : asl::focal_element<false>(x, t, rule);
                CHECK(compare::close(found.loss, static_cast<double>(expected.loss), 3e-6));
                CHECK(compare::close(found.slope, static_cast<double>(expected.slope), 3e-6, 1e-7));
                const auto wide = asl::focal_element<false>(static_cast<double>(x), static_cast<double>(t), rule64);
                CHECK(compare::close(wide.loss, static_cast<double>(expected.loss), 1e-13));
                CHECK(compare::close(wide.slope, static_cast<double>(expected.slope), 1e-12, 1e-15));
            }
        }
    }
}

TEST(focal_element_is_finite_where_everything_saturates) {
    for (const double gamma : {0.0, 0.5, 2.0}) {
        const auto rule = asl::focal_rule<float>(-1.0, gamma);
        for (const float x : {-3e38f, -120.0f, -104.0f, -88.0f, 88.0f, 104.0f, 120.0f}) {
            for (const float t : {0.0f, 1.0f}) {
                const auto found = asl::focal_element<false>(x, t, rule);
                CHECK(std::isfinite(found.slope) && found.loss >= 0.0f);
                if (gamma == 2.0) CHECK(std::isfinite(asl::focal_element<true>(x, t, rule).slope));
            }
        }
    }
}

TEST(focal_loss_equals_the_formula_for_every_form_of_input) {
    const Problem problem;
    for (const bool sparse : {false, true})
        for (const bool by_row : {false, true})
            for (const bool masked : {false, true})
                for (const auto reduction : {asl::Reduction::kNone, asl::Reduction::kSum, asl::Reduction::kMean}) {
                    const Choice choice{sparse, by_row, masked, reduction};
                    check(problem, choice, run(problem, choice, 1));
                }
}

TEST(focal_loss_ignores_what_is_masked) {
    Problem problem;
    const Choice choice{false, true, true, asl::Reduction::kSum};
    const Result expected = run(problem, choice, 1);
    for (std::int64_t row = 0; row < problem.rows; ++row) {
        if (problem.mask[row]) continue;
        problem.row_weights[row] = std::numeric_limits<float>::infinity();
        for (std::int64_t c = 0; c < problem.classes; ++c) {
            problem.logits[row * problem.classes + c] = std::numeric_limits<float>::quiet_NaN();
            problem.targets[row * problem.classes + c] = std::numeric_limits<float>::quiet_NaN();
        }
    }
    const Result found = run(problem, choice, 1);
    CHECK(found.loss == expected.loss);
    CHECK(found.grad_logits == expected.grad_logits);
    CHECK(found.grad_weights == expected.grad_weights);
}

TEST(focal_loss_passes_over_blocks_that_are_left_out_with_the_bits_of_one_that_does_not) {
    Problem problem;
    const std::int64_t block = 1024 / problem.classes;  // rows that are computed together
    CHECK(problem.rows > 3 * block);
    // The second block is left out, the third but for one row, and the last rows, which fill no block.
    for (std::int64_t row = 0; row < problem.rows; ++row) problem.mask[row] = row < block || row == 2 * block + 5;
    const auto of_row = [&](const std::vector<float>& values, std::int64_t row) {
        return values.begin() + row * problem.classes;
    };
    for (const bool sparse : {false, true})
        for (const bool by_row : {false, true}) {
            const Result all = run(problem, {sparse, by_row, false, asl::Reduction::kNone}, 1);
            const Result found = run(problem, {sparse, by_row, true, asl::Reduction::kNone}, 1);
            const Result summed = run(problem, {sparse, by_row, true, asl::Reduction::kSum}, 1);
            std::vector<float> loss = all.loss, slope = all.grad_logits, plain = all.grad_weights;
            for (std::int64_t row = 0; row < problem.rows; ++row)
                for (auto* values : {&loss, &slope, &plain})
                    if (!problem.mask[row]) std::fill_n(values->begin() + row * problem.classes, problem.classes, 0.0f);
            CHECK(found.loss == loss && found.grad_logits == slope && found.grad_weights == plain);
            CHECK(summed.grad_logits == slope);
            double total = 0.0;  // every block is added up, those of zeros as well
            for (std::int64_t row = 0; row < problem.rows; row += block)
                total += asl::lane_sum(&*of_row(loss, row), std::min(block, problem.rows - row) * problem.classes);
            CHECK(summed.loss[0] == static_cast<float>(total));
            if (!by_row) CHECK(summed.grad_weights == plain);
            for (std::int64_t row = 0; by_row && row < problem.rows; ++row)
                CHECK(summed.grad_weights[row] ==
                      static_cast<float>(asl::lane_sum(&*of_row(plain, row), problem.classes)));
            for (const auto* values : {&found.loss, &found.grad_logits, &found.grad_weights, &summed.grad_weights})
                for (const float value : *values) CHECK(value != 0.0f || !std::signbit(value));
        }
}

TEST(focal_loss_is_the_same_for_any_number_of_threads_and_any_number_of_classes) {
    for (const std::int64_t classes : {1, 20, 5000}) {
        Problem problem;
        compare::Random random(4);
        problem.classes = classes;
        problem.rows = std::max<std::int64_t>(3, 850000 / classes);
        problem.logits = random.values<float>(problem.rows * classes, -9.0, 9.0);
        problem.ids.assign(problem.rows, 0);
        problem.row_weights = random.values<float>(problem.rows, 0.0, 2.0);
        problem.mask.assign(problem.rows, 1);
        const Choice choice{true, true, true, asl::Reduction::kMean};
        const Result expected = run(problem, choice, 1);
        for (const int threads : {2, 5}) {
            const Result found = run(problem, choice, threads);
            CHECK(found.loss == expected.loss);
            CHECK(found.grad_logits == expected.grad_logits);
            CHECK(found.grad_weights == expected.grad_weights);
        }
    }
}
