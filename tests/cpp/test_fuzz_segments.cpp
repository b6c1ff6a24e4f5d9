// SPDX-License-Identifier: Apache-2.0
// What the scalar maths of segments promises, for hostile numbers: overlap, assignment, suppression, matching.
#include <algorithm>
#include <cmath>
#include <vector>

#include "common/assign_points.h"
#include "common/match_segments.h"
#include "common/segment_iou.h"
#include "common/soft_nms.h"
#include "fuzz.h"
#include "harness.h"

namespace {

template <class Real>
struct Pair {
    Real a[2], b[2];
};

/// Segments that may be reversed, without length or equal.
template <class Real>
Pair<Real> drawn(fuzz::Numbers<Real>& numbers, Real bound) {
    Pair<Real> pair{};
    for (Real& value : pair.a) value = numbers.within(bound);
    for (Real& value : pair.b) value = numbers.within(bound);
    if (numbers.chance(0.1)) std::copy_n(pair.a, 2, pair.b);
    if (numbers.chance(0.1)) pair.b[numbers.random().below(2)] = pair.a[numbers.random().below(2)];
    return pair;
}

template <bool kDistance, class Real>
Real iou(const Pair<Real>& pair) {
    return asl::segment_iou<kDistance>(pair.a[0], pair.a[1], pair.b[0], pair.b[1]);
}

template <class Real>
Pair<Real> swapped(const Pair<Real>& pair) {
    return {{pair.b[0], pair.b[1]}, {pair.a[0], pair.a[1]}};
}

template <class Real>
void check_iou(std::uint64_t seed) {
    const Real rounding = 8 * std::numeric_limits<Real>::epsilon();
    fuzz::Numbers<Real> numbers(seed);
    for (int draw = 0; draw < fuzz::kDraws; ++draw) {
        Pair<Real> pair = drawn(numbers, fuzz::kLarge<Real>);
        const Real plain = iou<false>(pair), distance = iou<true>(pair);
        CHECK(plain >= 0 && plain <= 1);
        CHECK(distance >= -1 - rounding && distance <= plain);
        CHECK(iou<false>(swapped(pair)) == plain && iou<true>(swapped(pair)) == distance);
        const Pair<Real> same{{pair.a[0], pair.a[1]}, {pair.a[0], pair.a[1]}};
        CHECK(iou<false>(same) == (pair.a[1] > pair.a[0] ? Real(1) : Real(0)));
        if (pair.a[1] < pair.a[0]) CHECK(plain == 0);
        pair.b[numbers.random().below(2)] = std::numeric_limits<Real>::quiet_NaN();
        CHECK(std::isnan(iou<false>(pair)) && std::isnan(iou<true>(pair)));
    }
}

/// Slopes are about one over a length: lengths whose inverse overflows are left out.
template <class Real>
bool measurable(const Pair<Real>& pair) {
    const Real shortest = std::sqrt(std::numeric_limits<Real>::min());
    const Real values[] = {pair.a[0], pair.a[1], pair.b[0], pair.b[1]};
    for (const Real x : values)
        for (const Real y : values)
            if (x != y && std::abs(x - y) < shortest) return false;
    return true;
}

template <bool kDistance, class Real>
void check_slopes(std::uint64_t seed) {
    fuzz::Numbers<Real> numbers(seed);
    for (int draw = 0; draw < fuzz::kDraws; ++draw) {
        const Pair<Real> pair = drawn(numbers, fuzz::kLarge<Real>);
        if (!measurable(pair)) continue;
        const auto found = asl::segment_slopes<kDistance>(pair.a[0], pair.a[1], pair.b[0], pair.b[1]);
        const auto other = asl::segment_slopes<kDistance>(pair.b[0], pair.b[1], pair.a[0], pair.a[1]);
        Real largest = 0, sum = 0;
        for (int side = 0; side < 2; ++side) {
            CHECK(std::isfinite(found.a[side]) && std::isfinite(found.b[side]));
            CHECK(found.a[side] == other.b[side] && found.b[side] == other.a[side]);
            largest = std::max({largest, std::abs(found.a[side]), std::abs(found.b[side])});
            sum += found.a[side] + found.b[side];
        }
        // Moving both segments alike changes nothing; tiny slopes of huge segments are subnormal.
        using Limits = std::numeric_limits<Real>;
        CHECK(std::abs(sum) <= 32 * Limits::epsilon() * largest + 4 * Limits::denorm_min());
    }
}

}  // namespace

TEST(fuzz_iou) {
    check_iou<float>(11);
    check_iou<double>(12);
}

TEST(fuzz_iou_slopes) {
    check_slopes<false, float>(13);
    check_slopes<true, float>(14);
    check_slopes<true, double>(15);
}

TEST(fuzz_iou_in_float_and_double) {
    fuzz::Numbers<float> numbers(16);
    for (int draw = 0; draw < fuzz::kDraws; ++draw) {
        const Pair<float> pair = drawn(numbers, 1e30f);
        const Pair<double> wide{{pair.a[0], pair.a[1]}, {pair.b[0], pair.b[1]}};
        CHECK(compare::close(iou<false>(pair), iou<false>(wide), 1e-6, 1e-6));
        if (measurable(pair)) CHECK(compare::close(iou<true>(pair), iou<true>(wide), 2e-6, 2e-6));
    }
}

TEST(fuzz_claims) {
    fuzz::Numbers<float> numbers(17);
    for (int draw = 0; draw < fuzz::kDraws; ++draw) {
        const float start = numbers.any(), end = numbers.any(), stride = std::abs(numbers.any());
        const asl::ClaimRule<float> rule{numbers.chance(0.5) ? 1.5f : std::abs(numbers.any()), numbers.chance(0.3), 0};
        const auto window = asl::claim_window(start, end, stride, rule);
        const float time = numbers.chance(0.5) ? numbers.any() : 0.5f * (start + end);
        if (!(time > window.from && time < window.to)) continue;
        CHECK(time > start && time < end);
        const asl::GridPoint<float> point{time, 0.0f, std::numeric_limits<float>::infinity(), 1.0f};
        CHECK(asl::in_regression_range(point, start, end));
        if (std::abs(start) > fuzz::kLarge<float> || std::abs(end) > fuzz::kLarge<float>) continue;
        const auto target = asl::point_target(point, start, end);
        CHECK(target.left > 0 && target.right > 0);
        const float size = std::max(std::abs(start), std::abs(end)) / (end - start);
        CHECK(std::abs(target.distance) <= 0.5f + 4 * std::numeric_limits<float>::epsilon() * (1 + size));
    }
}

TEST(fuzz_suppression) {
    fuzz::Numbers<float> numbers(18);
    for (int draw = 0; draw < fuzz::kDraws; ++draw) {
        const Pair<float> pair = drawn(numbers, fuzz::kLarge<float>);
        const float inter = std::min(pair.a[1], pair.b[1]) - std::max(pair.a[0], pair.b[0]);
        if (!(inter > 0.0f)) continue;
        const float a = asl::nms_area(pair.a[0], pair.a[1]), b = asl::nms_area(pair.b[0], pair.b[1]);
        const float threshold = numbers.from(0, 1), sigma = numbers.chance(0.1) ? 1e-38f : numbers.from(0.01f, 2);
        for (const auto method : {asl::NmsMethod::kHard, asl::NmsMethod::kLinear, asl::NmsMethod::kGaussian}) {
            const float factor = asl::nms_decay(inter, a, b, {method, sigma, threshold, 0.0f});
            CHECK(factor <= 1.0f && (factor >= 0.0f || (method == asl::NmsMethod::kHard && factor == -1.0f)));
        }
    }
}

TEST(fuzz_suppression_bound_holds) {
    fuzz::Numbers<float> numbers(19);
    for (int draw = 0; draw < fuzz::kDraws / 10; ++draw) {
        float score = numbers.chance(0.2) ? std::abs(numbers.within(1.0f)) : numbers.from(0, 1), exponent = 0.0f;
        const float before = score, scale = std::pow(10.0f, numbers.from(-8, 1));
        const int factors = static_cast<int>(numbers.random().below(60));
        for (int i = 0; i < factors; ++i) {
            const float each = numbers.from(0, scale);
            exponent += each;
            score *= static_cast<float>(std::exp(-static_cast<double>(each)));
        }
        CHECK(score <= asl::nms_bound(before, exponent, factors));
    }
}

TEST(fuzz_order_of_candidates) {
    fuzz::Numbers<float> numbers(20);
    for (int draw = 0; draw < fuzz::kDraws; ++draw) {
        const float one = std::abs(numbers.within(fuzz::kLarge<float>));
        const float other = std::abs(numbers.within(fuzz::kLarge<float>));
        const auto i = static_cast<std::uint32_t>(numbers.random().uniform() * 0x1p32);
        const auto j = static_cast<std::uint32_t>(numbers.random().uniform() * 0x1p32);
        const std::uint64_t key = asl::nms_key(one, i), next = asl::nms_key(other, j);
        CHECK(asl::nms_key_score(key) == one && asl::nms_key_index(key) == i);
        CHECK((key > next) == (one != other ? one > other : i < j));
        CHECK(asl::nms_key(-0.0f, i) == asl::nms_key(0.0f, i));
    }
}

TEST(fuzz_votes) {
    fuzz::Numbers<float> numbers(21);
    for (int draw = 0; draw < fuzz::kDraws; ++draw) {
        float at[4];
        for (float& value : at) value = numbers.any();
        if (numbers.chance(0.5)) {
            at[0] = numbers.from(-50, 50), at[1] = at[0] + numbers.from(0, 9);
            at[2] = at[0] + numbers.from(-3, 3), at[3] = at[1] + numbers.from(-3, 3);
        }
        const float score = numbers.chance(0.9) ? numbers.from(0, 1) : numbers.any();
        asl::NmsOptions options;
        options.voting_threshold = numbers.from(0.1f, 1);
        const float weight = asl::vote_weight(at[0], at[1], at[2], at[3], score, options);
        CHECK(weight == 0.0f || (weight > 0.0f && weight <= score));
        if (weight == 0.0f || std::isinf(weight)) continue;
        const float rounding = 4 * std::numeric_limits<float>::epsilon() * std::max(std::abs(at[0]), std::abs(at[2]));
        CHECK(std::abs(at[2] - at[0]) <= asl::vote_reach(at[1] - at[0], options) + rounding);
    }
}

TEST(fuzz_matching) {
    fuzz::Numbers<double> numbers(22);
    const std::vector<double> thresholds{0.1, 0.5, 1.0};
    for (int draw = 0; draw < fuzz::kDraws / 40; ++draw) {
        const std::int64_t count = numbers.random().below(7), first = numbers.random().below(4);
        const std::vector<std::int64_t> offsets{0, first, first + numbers.random().below(4)};
        std::vector<double> predictions, annotations;
        std::vector<std::int64_t> group;
        for (std::int64_t i = 0; i < 2 * count; ++i) predictions.push_back(numbers.any());
        for (std::int64_t i = 0; i < 2 * offsets[2]; ++i) annotations.push_back(numbers.any());
        for (std::int64_t i = 0; i < count; ++i) group.push_back(numbers.random().below(3) - 1);
        const asl::MatchInput input{predictions.data(), group.data(),      count, annotations.data(),
                                    offsets.data(),     thresholds.data(), 3};
        const asl::MatchRule rule{numbers.chance(0.5) ? 1e-8 : 0.0, numbers.chance(0.5), numbers.chance(0.5)};
        std::vector<std::int32_t> matched(static_cast<std::size_t>(3 * count), -1);
        std::vector<std::uint8_t> tied(2), taken(static_cast<std::size_t>(3 * offsets[2]));
        asl::SegmentMatcher(input, rule).run(0, 1, taken, {matched.data(), tied.data()});
        for (std::int64_t t = 0; t < 3; ++t) {
            std::vector<int> times(static_cast<std::size_t>(offsets[2]));
            for (std::int64_t i = 0; i < count; ++i) {
                const std::int32_t found = matched[static_cast<std::size_t>(t * count + i)];
                const std::int64_t g = group[static_cast<std::size_t>(i)];
                if (found < 0) continue;
                CHECK(g >= 0 && found >= offsets[g] && found < offsets[g + 1]);
                CHECK(++times[static_cast<std::size_t>(found)] == 1);
            }
        }
    }
}
