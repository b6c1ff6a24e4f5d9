// SPDX-License-Identifier: Apache-2.0
// What the scalar maths of the losses promises, for hostile numbers.
#include <cmath>

#include "common/contrastive_similarity.h"
#include "common/diou_loss.h"
#include "common/sensitivity_focal_loss.h"
#include "fuzz.h"
#include "harness.h"

namespace {

template <class Real>
bool finite(const asl::DiouRow<Real>& row) {
    return std::isfinite(row.pred[0]) && std::isfinite(row.pred[1]) && std::isfinite(row.target[0]) &&
           std::isfinite(row.target[1]);
}

template <class Real>
asl::FocalElement<Real> focal(Real x, Real t, double alpha, double gamma) {
    const auto rule = asl::focal_rule<Real>(alpha, gamma);
    return gamma == 2.0 ? asl::focal_element<true>(x, t, rule) : asl::focal_element<false>(x, t, rule);
}

constexpr double kGammas[] = {0.0, 0.3, 1.0, 2.0, 3.5};
constexpr double kAlphas[] = {-1.0, 0.0, 0.25, 1.0};

template <class Real>
void check_focal(std::uint64_t seed) {
    fuzz::Numbers<Real> numbers(seed);
    for (int draw = 0; draw < fuzz::kDraws; ++draw) {
        const Real x = numbers.any();
        const Real t = numbers.chance(0.6) ? Real(numbers.random().below(5)) / 4 : numbers.from(0, 1);
        const double alpha = kAlphas[numbers.random().below(4)], gamma = kGammas[numbers.random().below(5)];
        const auto found = focal(x, t, alpha, gamma);
        if (!std::isfinite(x)) {
            CHECK(!std::isfinite(found.loss));
            continue;
        }
        CHECK(found.loss >= 0 && std::isfinite(found.loss));
        CHECK(std::abs(found.slope) <= Real(1 + gamma));  // false for NaN
        const auto mirrored = focal(-x, Real(1) - t, alpha < 0 ? alpha : 1.0 - alpha, gamma);
        if (t * 4 == std::floor(t * 4)) CHECK(mirrored.loss == found.loss && mirrored.slope == -found.slope);
    }
}

template <class Real>
void check_diou(std::uint64_t seed) {
    fuzz::Numbers<Real> numbers(seed);
    for (int draw = 0; draw < fuzz::kDraws; ++draw) {
        Real at[4];
        for (Real& value : at) value = std::abs(numbers.within(fuzz::kLarge<Real>));
        const Real eps = Real(1e-8);
        const auto row = asl::diou_row(at[0], at[1], at[2], at[3], eps);
        CHECK(row.loss >= 0 && row.loss <= Real(1.25) + Real(1e-6));
        CHECK(finite(row));
        const auto swapped = asl::diou_row(at[2], at[3], at[0], at[1], eps);
        CHECK(swapped.loss == row.loss && swapped.pred[0] == row.target[0] && swapped.target[1] == row.pred[1]);
        const auto mirrored = asl::diou_row(at[1], at[0], at[3], at[2], eps);
        CHECK(mirrored.loss == row.loss && mirrored.pred[0] == row.pred[1] && mirrored.target[0] == row.target[1]);
        const Real length = std::max(at[0], at[2]) + std::max(at[1], at[3]);
        if (length < eps) continue;
        // The loss does not depend on the unit of length, so along the offsets themselves it does not change.
        const Real along =
            (at[0] * row.pred[0] + at[1] * row.pred[1]) + (at[2] * row.target[0] + at[3] * row.target[1]);
        CHECK(std::abs(along) <= 32 * std::numeric_limits<Real>::epsilon());
    }
}

/// Empty as 0 and -1, or within the frames.
bool in_place(asl::FrameRange range, std::int64_t last) {
    if (range.last < range.first) return range.first == 0 && range.last == -1;
    return range.first >= 0 && range.last <= last;
}

template <class Real>
void check_pooling(std::uint64_t seed) {
    fuzz::Numbers<Real> numbers(seed);
    for (int draw = 0; draw < fuzz::kDraws; ++draw) {
        const std::int64_t last = numbers.random().below(40) - 1;
        const bool hostile = numbers.chance(0.5);
        const Real start = hostile ? numbers.any() : numbers.from(-9, 45), by = numbers.from(-1, 20);
        const Real end = hostile ? numbers.any() : numbers.chance(0.5) ? std::round(start + by) : start + by;
        const Real delta = numbers.chance(0.8) ? numbers.from(0, 1) : std::abs(numbers.within(fuzz::kLarge<Real>));
        Real mu[3], sigma[3];
        for (Real& value : mu) value = numbers.chance(0.7) ? numbers.from(-1, 1) : numbers.any();
        for (Real& value : sigma) value = std::abs(numbers.within(fuzz::kLarge<Real>));
        const asl::InstanceFrames frames = asl::instance_frames(start, end, mu, delta, 5, last);
        const bool present = frames.state != asl::InstanceState::kAbsent;
        CHECK(!(std::isnan(start) || std::isnan(end) || !(end > start)) || !present);
        for (const asl::FrameRange range : frames.sensitive)
            CHECK(in_place(range, last) && (range.size() > 0) == present);
        for (const asl::FrameRange range : frames.background)
            CHECK(in_place(range, last) && (range.size() == 0 || frames.state == asl::InstanceState::kWhole));
        if (!(sigma[0] > 0 && sigma[1] > 0 && sigma[2] > 0)) continue;
        if (!std::isfinite(mu[0]) || !std::isfinite(mu[1]) || !std::isfinite(mu[2])) continue;
        asl::Pooling<Real> how;
        how.set(frames, start, end, mu, sigma);
        const std::int64_t t = numbers.random().below(last + 2);
        const asl::FrameShare<Real> share = how.at(t);
        for (int kind = 0; kind < 3; ++kind) {
            CHECK(share.p[kind] >= 0 && share.p[kind] <= 1);
            CHECK(share.weight[kind] >= 0 && share.weight[kind] <= 2 * how.share_of(kind, t));
            CHECK(how.share_of(kind, t) == 0 || frames.hull(true).has(t));
        }
    }
}

}  // namespace

TEST(fuzz_contrastive_pooling) {
    check_pooling<float>(9);
    check_pooling<double>(10);
}

TEST(fuzz_focal_loss) {
    check_focal<float>(1);
    check_focal<double>(2);
}

TEST(fuzz_focal_loss_in_float_and_double) {
    fuzz::Numbers<float> numbers(3);
    for (int draw = 0; draw < fuzz::kDraws; ++draw) {
        const float x = numbers.within(1e30f), t = numbers.chance(0.5) ? float(numbers.random().below(2)) : 0.3f;
        const double alpha = kAlphas[numbers.random().below(4)], gamma = kGammas[numbers.random().below(5)];
        const auto found = focal(x, t, alpha, gamma);
        const auto expected = focal(static_cast<double>(x), static_cast<double>(t), alpha, gamma);
        CHECK(compare::close(found.loss, expected.loss, 2e-5, 1e-6));
        // With t between, two terms of the logarithm's size cancel.
        CHECK(compare::close(found.slope, expected.slope, 2e-5, 2e-6));
    }
}

TEST(fuzz_diou_loss) {
    check_diou<float>(4);
    check_diou<double>(5);
}

TEST(fuzz_diou_loss_in_float_and_double) {
    fuzz::Numbers<float> numbers(6);
    for (int draw = 0; draw < fuzz::kDraws; ++draw) {
        float at[4];
        for (float& value : at) value = std::abs(numbers.within(1e30f));
        const auto found = asl::diou_row(at[0], at[1], at[2], at[3], 1e-8f);
        // The same bound as in float; a tie at which it begins to hold is one in both.
        const auto wide = asl::diou_row<double>(at[0], at[1], at[2], at[3], 1e-8f);
        CHECK(compare::close(found.loss, wide.loss, 1e-6, 1e-6));
    }
}

TEST(fuzz_losses_take_anything) {
    fuzz::Numbers<float> numbers(7);
    for (int draw = 0; draw < fuzz::kDraws; ++draw) {
        float at[4];
        bool some = false;
        for (float& value : at) some |= std::isnan(value = numbers.any());
        const auto row = asl::diou_row(at[0], at[1], at[2], at[3], std::abs(numbers.within(1.0f)));
        CHECK(!some || std::isnan(row.loss));
        CHECK(std::isfinite(at[0]) || !std::isfinite(focal(at[0], 0.5f, 0.25, 2.0).loss));
    }
}

TEST(fuzz_elementary_functions) {
    fuzz::Numbers<float> numbers(8);
    for (int draw = 0; draw < fuzz::kDraws; ++draw) {
        const float x = -std::abs(numbers.any()), e = asl::exp_nonpositive(x);
        CHECK(compare::close(e, std::exp(static_cast<double>(x)), 3e-7, 0x1.1p-149));
        if (std::isnan(x)) continue;
        CHECK(e >= 0.0f && e <= 1.0f);
        const float log = asl::log1p_unit(e);
        CHECK(log >= 0.0f && log <= 0.693148f);
        CHECK(compare::close(log, std::log1p(static_cast<double>(e)), 5e-7, 0x1p-148));
    }
}
