// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "compare.h"
#include "cpu/assign_points.h"
#include "harness.h"

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr std::int64_t kClasses = 3;

using Points = std::vector<asl::GridPoint<float>>;

struct Result {
    std::vector<float> classes, offsets, distance;
    std::vector<std::int64_t> instance;

    bool operator==(const Result& other) const {
        return classes == other.classes && offsets == other.offsets && distance == other.distance &&
               instance == other.instance;
    }
};

struct Problem {
    Points points;
    std::vector<float> segments;
    std::vector<std::int64_t> labels, video_offsets{0};
    asl::ClaimRule<float> rule{1.5f, false, 1e-3f};

    std::int64_t videos() const { return static_cast<std::int64_t>(video_offsets.size()) - 1; }

    Result solve(int threads = 1) const {
        const std::size_t rows = points.size() * static_cast<std::size_t>(videos());
        Result result{std::vector<float>(rows * kClasses, kNaN), std::vector<float>(2 * rows, kNaN),
                      std::vector<float>(rows, kNaN), std::vector<std::int64_t>(rows, -7)};
        const asl::AssignInput<float> input{points.data(),
                                            static_cast<std::int64_t>(points.size()),
                                            segments.data(),
                                            labels.data(),
                                            video_offsets.data(),
                                            videos(),
                                            kClasses};
        asl::assign_points<float>(
            input, rule, {result.classes.data(), result.offsets.data(), result.instance.data(), result.distance.data()},
            threads);
        return result;
    }

    /// Every point meets every segment, as in the reference.
    Result brute_force() const {
        const std::size_t rows = points.size() * static_cast<std::size_t>(videos());
        Result result{std::vector<float>(rows * kClasses), std::vector<float>(2 * rows), std::vector<float>(rows),
                      std::vector<std::int64_t>(rows, -1)};
        for (std::size_t row = 0; row < rows; ++row) {
            const std::size_t video = row / points.size();
            const asl::GridPoint<float>& point = points[row % points.size()];
            float shortest = kInfinity;
            for (std::int64_t s = video_offsets[video]; s < video_offsets[video + 1]; ++s) {
                const float length = claimed_length(point, s);
                if (length < shortest) {
                    shortest = length;
                    result.instance[row] = s;
                }
            }
            for (std::int64_t s = video_offsets[video]; s < video_offsets[video + 1]; ++s) {
                const float length = claimed_length(point, s);
                if (length < kInfinity && length <= shortest + rule.tie_tolerance)
                    result.classes[row * kClasses + static_cast<std::size_t>(labels[s])] = 1.0f;
            }
            const std::int64_t s = result.instance[row];
            if (s < 0) continue;
            const float start = segments[2 * s], end = segments[2 * s + 1];
            result.offsets[2 * row] = (point.time - start) / point.stride;
            result.offsets[2 * row + 1] = (end - point.time) / point.stride;
            result.distance[row] = (point.time - 0.5f * (start + end)) / (end - start);
        }
        return result;
    }

    float claimed_length(const asl::GridPoint<float>& point, std::int64_t s) const {
        const float start = segments[2 * s], end = segments[2 * s + 1];
        const float left = point.time - start, right = end - point.time;
        const float centre = 0.5f * (start + end), reach = point.stride * rule.radius;
        const float low = centre - reach, high = centre + reach;
        bool inside = left > 0.0f && right > 0.0f;
        if (!rule.whole) inside = inside && point.time - low > 0.0f && high - point.time > 0.0f;
        const float far = std::max(left, right);
        return inside && far >= point.low && far <= point.high ? end - start : kInfinity;
    }

    void add_video(compare::Random& random, std::int64_t count, bool rounded) {
        for (std::int64_t i = 0; i < count; ++i) {
            double start = random.uniform(-4.0, 130.0), length = std::pow(random.uniform(), 3) * 130.0 - 1.0;
            if (rounded) start = std::floor(2 * start) / 2, length = std::floor(2 * length) / 2;
            segments.push_back(static_cast<float>(start));
            segments.push_back(static_cast<float>(start + length));
            labels.push_back(random.below(kClasses));
        }
        video_offsets.push_back(static_cast<std::int64_t>(labels.size()));
    }
};

Points pyramid(float length) {
    Points points;
    float low = 0.0f, stride = 1.0f;
    for (const float high : {4.0f, 8.0f, 16.0f, 32.0f, 10000.0f}) {
        for (float time = 0.0f; time < length; time += stride) points.push_back({time, low, high, stride});
        low = high;
        stride *= 2.0f;
    }
    return points;
}

}  // namespace

TEST(assign_points_equals_brute_force) {
    compare::Random random(11);
    std::int64_t positive = 0;
    for (int repeat = 0; repeat < 60; ++repeat) {
        Problem problem;
        problem.points = pyramid(128.0f);
        problem.rule.whole = repeat % 3 == 0;
        if (repeat % 3 == 1) problem.rule.radius = 0.5f;
        for (const std::int64_t count : {40, 0, 1, 17}) problem.add_video(random, count, repeat % 2 == 0);
        const Result found = problem.solve();
        CHECK(found == problem.brute_force());
        positive += static_cast<std::int64_t>(found.instance.size()) -
                    std::count(found.instance.begin(), found.instance.end(), -1);
    }
    CHECK(positive > 1000);
}

TEST(assign_points_takes_points_in_any_order_and_off_the_grid) {
    compare::Random random(12);
    Problem problem;
    for (int i = 0; i < 200; ++i) {
        const auto level = static_cast<float>(random.below(4));
        problem.points.push_back({static_cast<float>(random.uniform(0.0, 128.0)), 4.0f * level, 4.0f * level + 8.0f,
                                  static_cast<float>(random.uniform(0.5, 8.0))});
    }
    problem.add_video(random, 60, false);
    for (const bool whole : {false, true}) {
        problem.rule.whole = whole;
        CHECK(problem.solve() == problem.brute_force());
    }
    std::sort(problem.points.begin(), problem.points.end(), [](auto& a, auto& b) { return a.time < b.time; });
    CHECK(problem.solve() == problem.brute_force());
}

TEST(assign_points_survives_what_is_not_finite) {
    compare::Random random(13);
    Problem problem;
    problem.points = pyramid(64.0f);
    problem.points[5].time = kNaN;
    problem.points[9].stride = kNaN;
    problem.points[11].high = kNaN;
    problem.points[70].high = kInfinity;
    problem.points[71].time = kInfinity;
    problem.segments = {5, 5, 9, 3, kNaN, 9, 2, kNaN, -kInfinity, kInfinity, 3, kInfinity, -3e38f, 3e38f, 4, 9};
    problem.labels.assign(8, 1);
    problem.video_offsets.push_back(8);
    problem.add_video(random, 20, true);
    for (const bool whole : {false, true}) {
        problem.rule.whole = whole;
        CHECK(problem.solve() == problem.brute_force());
    }
}

TEST(assign_points_is_the_same_for_any_number_of_threads) {
    compare::Random random(14);
    Problem problem;
    problem.points = pyramid(2048.0f);
    for (int video = 0; video < 80; ++video) problem.add_video(random, video, false);
    const Result expected = problem.solve(1);
    for (const int threads : {2, 4}) CHECK(problem.solve(threads) == expected);
}

TEST(assign_points_accepts_nothing) {
    Problem problem;
    CHECK(problem.solve().instance.empty());
    problem.video_offsets.push_back(0);
    CHECK(problem.solve().instance.empty());
    problem.points = pyramid(8.0f);
    CHECK(problem.solve() == problem.brute_force());
}

TEST(levels_are_runs_of_one_range_in_rising_time) {
    const Points points = pyramid(64.0f);
    const auto levels = asl::find_levels(points.data(), static_cast<std::int64_t>(points.size()));
    CHECK(levels.size() == 5);
    CHECK(levels[1].begin == 64 && levels[1].end == 96);
    const Points falling{{2, 0, 4, 1}, {1, 0, 4, 1}, {kNaN, 0, 4, 1}, {3, 0, 4, 1}};
    CHECK(asl::find_levels(falling.data(), 4).size() == 4);
}
