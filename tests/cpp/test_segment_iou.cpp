// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "compare.h"
#include "cpu/segment_iou.h"
#include "harness.h"

namespace {

double plain(const double* a, const double* b, bool distance) {
    const double length_a = std::max(a[1] - a[0], 0.0), length_b = std::max(b[1] - b[0], 0.0);
    const double inter = std::max(std::min(a[1], b[1]) - std::max(a[0], b[0]), 0.0);
    const double total = length_a + length_b - inter;
    const double iou = total > 0 ? inter / total : 0.0;
    const double hull = std::max({a[0], a[1], b[0], b[1]}) - std::min({a[0], a[1], b[0], b[1]});
    if (!distance || hull <= 0) return iou;
    const double between = (a[0] + a[1] - b[0] - b[1]) / 2;
    return iou - between * between / (hull * hull);
}

/// Proper segments, some of them reversed or without length.
std::vector<float> segments(compare::Random& random, std::int64_t count) {
    std::vector<float> result;
    for (std::int64_t i = 0; i < count; ++i) {
        const double start = random.uniform(0.0, 8.0), length = i % 11 == 3 ? 0.0 : random.uniform(-0.5, 4.0);
        result.push_back(static_cast<float>(start));
        result.push_back(static_cast<float>(start + length));
    }
    return result;
}

template <bool kDistance>
void check_pairs(std::int64_t batch, std::int64_t n, std::int64_t m, bool aligned) {
    compare::Random random(8);
    const auto a = segments(random, batch * n), b = segments(random, aligned ? batch * n : batch * m);
    const std::int64_t columns = aligned ? 1 : m, size = batch * n * columns;
    const auto grad = random.values<float>(size, -1.0, 1.0);
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::vector<float> out(size, nan), grad_a(a.size(), nan), grad_b(b.size(), nan);
    const asl::SegmentIou<kDistance, float> op({a.data(), b.data(), batch, n, columns}, aligned, 1);
    op.forward(out.data());
    op.backward(grad.data(), grad_a.data(), grad_b.data());

    std::vector<double> expected_a(a.size()), expected_b(b.size());
    for (std::int64_t row = 0; row < batch * n; ++row) {
        for (std::int64_t j = 0; j < columns; ++j) {
            const std::int64_t other = aligned ? row : row / n * m + j, at = row * columns + j;
            const double x[] = {a[2 * row], a[2 * row + 1]}, y[] = {b[2 * other], b[2 * other + 1]};
            CHECK(compare::close(out[at], plain(x, y, kDistance), 0.0, 1e-6));
            const auto slopes = asl::segment_slopes<kDistance>(x[0], x[1], y[0], y[1]);
            for (int k = 0; k < 2; ++k) {
                expected_a[2 * row + k] += grad[at] * slopes.a[k];
                expected_b[2 * other + k] += grad[at] * slopes.b[k];
            }
        }
    }
    for (std::size_t i = 0; i < a.size(); ++i) CHECK(compare::close(grad_a[i], expected_a[i], 1e-5, 1e-5));
    for (std::size_t i = 0; i < b.size(); ++i) CHECK(compare::close(grad_b[i], expected_b[i], 1e-5, 1e-5));
}

template <bool kDistance>
void check_slopes() {
    compare::Random random(9);
    for (int repeat = 0; repeat < 2000; ++repeat) {
        double at[4];
        for (double& value : at) value = random.uniform(0.0, 6.0);
        const auto slopes = asl::segment_slopes<kDistance>(at[0], at[1], at[2], at[3]);
        const double found[] = {slopes.a[0], slopes.a[1], slopes.b[0], slopes.b[1]};
        for (int k = 0; k < 4; ++k) {
            const double step = 1e-7, value = at[k];
            at[k] = value + step;
            const double above = plain(at, at + 2, kDistance);
            at[k] = value - step;
            const double below = plain(at, at + 2, kDistance);
            at[k] = value;
            CHECK(compare::close(found[k], (above - below) / (2 * step), 1e-5, 1e-5));
        }
    }
}

}  // namespace

TEST(segment_slopes_equal_differences) {
    check_slopes<false>();
    check_slopes<true>();
}

TEST(segment_iou_of_pairs_rows_and_batches) {
    for (const std::int64_t n : {1, 5, 70})
        for (const std::int64_t m : {1, 3, 131})
            for (const std::int64_t batch : {1, 3}) {
                check_pairs<false>(batch, n, m, false);
                check_pairs<true>(batch, n, m, false);
            }
    check_pairs<false>(2, 67, 67, true);
    check_pairs<true>(2, 67, 67, true);
}

TEST(segment_iou_is_the_same_for_any_number_of_threads) {
    compare::Random random(10);
    const std::int64_t n = 1000, m = 1100;
    const auto a = segments(random, n), b = segments(random, m);
    const auto grad = random.values<float>(n * m, -1.0, 1.0);
    std::vector<std::vector<float>> results;
    for (const int threads : {1, 2, 5}) {
        std::vector<float> all(n * m + 2 * n + 2 * m);
        const asl::SegmentIou<true, float> op({a.data(), b.data(), 1, n, m}, false, threads);
        op.forward(all.data());
        op.backward(grad.data(), all.data() + n * m, all.data() + n * m + 2 * n);
        results.push_back(all);
    }
    CHECK(results[0] == results[1]);
    CHECK(results[0] == results[2]);
}

TEST(segment_iou_of_nan_is_nan) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    for (int k = 0; k < 4; ++k) {
        float at[] = {0.0f, 2.0f, 1.0f, 3.0f};
        at[k] = nan;
        CHECK(std::isnan(asl::segment_iou<false>(at[0], at[1], at[2], at[3])));
        CHECK(std::isnan(asl::segment_iou<true>(at[0], at[1], at[2], at[3])));
        const auto slopes = asl::segment_slopes<false>(at[0], at[1], at[2], at[3]);
        CHECK(slopes.a[0] == 0.0f && slopes.b[1] == 0.0f);
    }
}
