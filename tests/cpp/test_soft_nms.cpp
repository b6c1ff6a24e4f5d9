// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdint>

#include "common/soft_nms.h"
#include "harness.h"

namespace {

constexpr float kUlp = 1.2e-7f;  // spacing of float32 just above 1

asl::NmsOptions voting(float threshold) {
    asl::NmsOptions options;
    options.voting_threshold = threshold;
    return options;
}

}  // namespace

TEST(nms_decay_follows_its_method) {
    const float area = asl::nms_area(2.0f, 6.0f);
    CHECK_NEAR(area, 4.0f + 1e-6f, 4 * kUlp);
    const float iou = 2.0f / ((area + area) - 2.0f);
    const asl::NmsOptions hard{asl::NmsMethod::kHard, 0.5f, 0.3f, 0.0f};
    const asl::NmsOptions linear{asl::NmsMethod::kLinear, 0.5f, 0.3f, 0.0f};
    const asl::NmsOptions gaussian{asl::NmsMethod::kGaussian, 0.5f, 0.3f, 0.0f};
    CHECK(asl::nms_decay(2.0f, area, area, hard) < 0.0f);
    CHECK(asl::nms_decay(0.5f, area, area, hard) == 1.0f);
    CHECK(asl::nms_decay(0.5f, area, area, linear) == 1.0f);
    CHECK_NEAR(asl::nms_decay(2.0f, area, area, linear), 1.0f - iou, kUlp);
    CHECK_NEAR(asl::nms_decay(2.0f, area, area, gaussian), std::exp(-iou * iou / 0.5f), kUlp);
}

TEST(nms_key_orders_by_score_then_by_lower_index) {
    CHECK(asl::nms_key(0.5f, 9) > asl::nms_key(0.25f, 1));
    CHECK(asl::nms_key(0.5f, 1) > asl::nms_key(0.5f, 2));
    CHECK(asl::nms_key(0.0f, 0) > asl::nms_key(-0.0f, 1));
    CHECK(asl::nms_key(-0.0f, 0) > asl::nms_key(0.0f, 1));
    CHECK(asl::nms_key(1e-45f, 7) > asl::nms_key(0.0f, 0));
}

TEST(nms_key_gives_back_what_went_in) {
    for (const float score : {0.0f, 1e-45f, 1e-30f, 0.3f, 1.0f, 3.4e38f}) {
        for (const std::uint32_t index : {0u, 1u, 12345u, 0xFFFFFFFFu}) {
            const std::uint64_t key = asl::nms_key(score, index);
            CHECK(asl::nms_key_score(key) == score);
            CHECK(asl::nms_key_index(key) == index);
        }
    }
}

TEST(vote_weight_is_score_times_iou_above_the_threshold) {
    CHECK_NEAR(asl::vote_weight(0.0f, 4.0f, 2.0f, 6.0f, 0.9f, voting(0.3f)), 0.9f * 2.0f / 6.0f, kUlp);
    CHECK(asl::vote_weight(0.0f, 4.0f, 2.0f, 6.0f, 0.9f, voting(0.4f)) == 0.0f);
    CHECK(asl::vote_weight(0.0f, 4.0f, 5.0f, 6.0f, 0.9f, voting(0.0f)) == 0.0f);
    CHECK(asl::vote_weight(1.0f, 1.0f, 1.0f, 1.0f, 0.9f, voting(0.5f)) == 0.0f);  // zero length: no 0/0
    CHECK(asl::vote_weight(0.0f, 4.0f, 0.0f, 4.0f, 0.0f, voting(0.5f)) == 0.0f);
}

TEST(vote_reach_bounds_the_distance_of_starts) {
    for (int step = 1; step <= 20; ++step) {
        const float threshold = static_cast<float>(step) / 20.0f;
        for (int shift = -80; shift <= 80; ++shift) {
            for (int length = 1; length <= 160; length += 3) {
                const float start = static_cast<float>(shift) / 10.0f;
                const float end = start + static_cast<float>(length) / 10.0f;
                if (asl::vote_weight(0.0f, 4.0f, start, end, 1.0f, voting(threshold)) > 0.0f)
                    CHECK(std::abs(start) <= asl::vote_reach(4.0f, voting(threshold)));
            }
        }
    }
}
