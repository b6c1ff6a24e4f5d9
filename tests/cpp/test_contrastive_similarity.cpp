// SPDX-License-Identifier: Apache-2.0
#include "common/contrastive_similarity.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "compare.h"
#include "harness.h"

namespace {

using Frames = std::vector<std::int64_t>;

Frames of_range(asl::FrameRange range) {
    Frames frames;
    for (std::int64_t t = range.first; t <= range.last; ++t) frames.push_back(t);
    return frames;
}

/// Frames between two bounds, both included, among 0 to last.
Frames between(double low, double high, std::int64_t last) {
    Frames frames;
    for (std::int64_t t = 0; t <= last; ++t)
        if (static_cast<double>(t) >= low && static_cast<double>(t) <= high) frames.push_back(t);
    return frames;
}

/// The frame of `among` nearest to `to`, the earlier of two.
std::int64_t nearest(const Frames& among, double to) {
    std::int64_t best = among.front();
    for (const std::int64_t t : among)
        if (std::abs(static_cast<double>(t) - to) < std::abs(static_cast<double>(best) - to)) best = t;
    return best;
}

/// Compares with every frame looked at; false where the instance takes no part.
bool check_frames(double start, double end, const double mu[3], double delta, std::int64_t last) {
    const asl::InstanceFrames found = asl::instance_frames(start, end, mu, delta, 3, last);
    CHECK(found.video == 3);
    const bool touches = end > -0.5 && start < static_cast<double>(last) + 0.5 && end > start && last >= 0;
    CHECK((found.state != asl::InstanceState::kAbsent) == touches);
    CHECK(found.label(0, 7) == (touches ? 7 : -2) && found.label(1, 7) == (touches ? 7 : -2));
    if (!touches) {
        for (const asl::FrameRange range : found.sensitive) CHECK(range.first == 0 && range.last == -1);
        for (const asl::FrameRange range : found.background) CHECK(range.first == 0 && range.last == -1);
        CHECK(found.label(2, 7) == -2);
        return false;
    }
    const Frames all = between(0, static_cast<double>(last), last);
    const double centre = (start + end) / 2, reach = delta * (end - start);
    Frames inside = between(start, end, last);
    if (inside.empty()) inside = {nearest(all, centre)};
    for (int kind = 0; kind < 3; ++kind) {
        const std::int64_t peak = nearest(inside, centre + mu[kind] * (end - start));
        Frames around;
        for (const std::int64_t t : inside)
            if (std::abs(static_cast<double>(t - peak)) <= reach) around.push_back(t);
        CHECK(of_range(found.sensitive[kind]) == around);
    }
    CHECK(of_range(found.background[0]) == between(start - reach, start, last));
    CHECK(of_range(found.background[1]) == between(end, end + reach, last));
    const bool background = found.background[0].size() + found.background[1].size() > 0;
    CHECK((found.state == asl::InstanceState::kWhole) == background);
    CHECK(found.label(2, 7) == (background ? -1 : -2));
    return true;
}

/// Quarters of frames, so that ties and bounds are met exactly.
double quarters(compare::Random& random, double low, double high) {
    return std::round(4 * random.uniform(low, high)) / 4;
}

std::int64_t count_of(const asl::InstanceFrames& frames, int kind, std::int64_t t) {
    const auto has = [t](asl::FrameRange range) { return range.has(t) ? 1 : 0; };
    if (kind == 0) return has(frames.sensitive[0]);
    if (kind == 1) return std::max(has(frames.sensitive[1]), has(frames.sensitive[2]));
    return std::max(has(frames.background[0]), has(frames.background[1]));
}

}  // namespace

TEST(instance_frames_equal_a_look_at_every_frame) {
    compare::Random random(11);
    int present = 0;
    for (int repeat = 0; repeat < 5000; ++repeat) {
        const double start = quarters(random, -8.0, 24.0), length = quarters(random, -1.0, 12.0);
        const double mu[] = {quarters(random, -1, 1), quarters(random, -1, 1), quarters(random, -1, 1)};
        present += check_frames(start, start + length, mu, quarters(random, 0.0, 1.0), random.below(22) - 1) ? 1 : 0;
    }
    CHECK(present > 2000);
}

TEST(instance_frames_of_an_instance_inside_a_step_is_the_nearest_frame) {
    const float mu[] = {0.0f, -0.5f, 0.5f};
    const asl::InstanceFrames found = asl::instance_frames(4.55f, 4.75f, mu, 0.2f, 0, 9);
    for (const asl::FrameRange range : found.sensitive) CHECK(range.first == 5 && range.last == 5);
    CHECK(found.state == asl::InstanceState::kNoBackground && found.label(2, 1) == -2);
    const float nan = std::numeric_limits<float>::quiet_NaN();
    CHECK(asl::instance_frames(nan, 4.0f, mu, 0.2f, 0, 9).state == asl::InstanceState::kAbsent);
    CHECK(asl::instance_frames(4.0f, nan, mu, 0.2f, 0, 9).state == asl::InstanceState::kAbsent);
}

TEST(pooling_shares_add_up_to_one_and_the_hull_holds_them) {
    compare::Random random(12);
    for (int repeat = 0; repeat < 2000; ++repeat) {
        const double start = quarters(random, -4.0, 16.0), end = start + quarters(random, -0.5, 10.0);
        const double mu[] = {0.0, random.uniform(-0.6, 0.1), random.uniform(-0.1, 0.6)}, sigma[] = {0.3, 0.5, 0.7};
        const asl::InstanceFrames frames = asl::instance_frames(start, end, mu, random.uniform(0.0, 0.6), 0, 19);
        asl::Pooling<double> how;
        how.set(frames, start, end, mu, sigma);
        for (int kind = 0; kind < 3; ++kind) {
            double sum = 0;
            std::int64_t count = 0;
            for (std::int64_t t = 0; t < 20; ++t) {
                const std::int64_t here = count_of(frames, kind, t);
                CHECK((how.share_of(kind, t) > 0) == (here > 0));
                CHECK(here == 0 || frames.hull(kind == 2).has(t));
                sum += how.share_of(kind, t);
                count += here;
            }
            CHECK_NEAR(sum, count > 0 ? 1.0 : 0.0, 1e-14);
        }
    }
}

TEST(pooling_weights_are_gaussians_with_the_slopes_of_z) {
    compare::Random random(13);
    for (int repeat = 0; repeat < 500; ++repeat) {
        const double start = random.uniform(0.0, 4.0), end = start + random.uniform(0.3, 9.0);
        double mu[3], sigma[3];
        for (int kind = 0; kind < 3; ++kind) {
            mu[kind] = random.uniform(-0.6, 0.6);
            sigma[kind] = random.uniform(0.2, 1.5);
        }
        const asl::InstanceFrames frames = asl::instance_frames(start, end, mu, 0.4, 0, 12);
        const auto at = [&](std::int64_t t) {
            asl::Pooling<double> how;
            how.set(frames, start, end, mu, sigma);
            return how.at(t);
        };
        for (std::int64_t t = 0; t <= 12; ++t) {
            const asl::FrameShare<double> here = at(t);
            const double place = (static_cast<double>(t) - (start + end) / 2) / (end - start);
            const double distance = std::min(0.5, std::max(-0.5, place));
            double p[3];
            for (int kind = 0; kind < 3; ++kind) {
                p[kind] = std::exp(-std::pow((distance - mu[kind]) / sigma[kind], 2) / 2);
                CHECK_NEAR(here.p[kind], p[kind], 1e-14);
                for (double* parameter : {mu + kind, sigma + kind}) {
                    const double step = 1e-6, value = *parameter;
                    *parameter = value + step;
                    const double above = at(t).p[kind];
                    *parameter = value - step;
                    const double below = at(t).p[kind];
                    *parameter = value;
                    const double slope = here.p[kind] * here.z[kind] / sigma[kind];
                    const double expected = parameter == mu + kind ? slope : slope * here.z[kind];
                    CHECK(compare::close((above - below) / (2 * step), expected, 1e-6, 1e-8));
                }
            }
            asl::Pooling<double> how;
            how.set(frames, start, end, mu, sigma);
            CHECK_NEAR(here.weight[0], p[0] * how.share_of(0, t), 1e-14);
            CHECK_NEAR(here.weight[1], (p[1] + p[2]) * how.share_of(1, t), 1e-14);
            CHECK(here.weight[2] == how.share_of(2, t));
        }
    }
}

TEST(inverse_length_leaves_a_vector_without_length_alone) {
    CHECK(asl::inverse_length(4.0) == 0.5 && asl::inverse_length(0.25f) == 2.0f);
    CHECK(asl::inverse_length(0.0f) == 0.0f && asl::inverse_length(std::numeric_limits<float>::denorm_min()) == 0.0f);
    CHECK(asl::inverse_length(std::numeric_limits<double>::infinity()) == 0.0);
    CHECK(std::isnan(asl::inverse_length(std::numeric_limits<float>::quiet_NaN())));
}
