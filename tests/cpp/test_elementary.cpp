// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "common/elementary.h"
#include "compare.h"
#include "cpu/buffers.h"
#include "cpu/simd.h"
#include "cpu/sums.h"
#include "harness.h"

namespace {

constexpr double kUlp = 0x1p-24;  // half a unit in the last place, relative, of a float
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

struct ExpLoop {
    static ASL_HOST_DEVICE void run(const float* x, std::int64_t count, float* e, float* l) {
        for (std::int64_t i = 0; i < count; ++i) {
            e[i] = asl::exp_nonpositive(x[i]);
            l[i] = asl::log1p_unit(e[i]);
        }
    }
};

}  // namespace

TEST(exp_is_accurate_down_to_the_smallest_subnormal) {
    double worst = 0.0;
    for (int i = 0; i <= 200000; ++i) {
        const float x = -static_cast<float>(i) * 87.3f / 200000.0f;
        const double expected = std::exp(static_cast<double>(x));
        worst = std::max(worst, std::abs(asl::exp_nonpositive(x) - expected) / expected);
    }
    CHECK(worst < 3 * kUlp);
    for (float x = -87.3f; x > -110.0f; x -= 0.01f)  // subnormal: one unit of 2^-149
        CHECK_NEAR(asl::exp_nonpositive(x), std::exp(static_cast<double>(x)), 1.01 * 0x1p-149);
    CHECK(asl::exp_nonpositive(0.0f) == 1.0f);
    CHECK(asl::exp_nonpositive(-0.0f) == 1.0f);
    CHECK(asl::exp_nonpositive(-1e-30f) == 1.0f);
    CHECK(asl::exp_nonpositive(-std::numeric_limits<float>::infinity()) == 0.0f);
    CHECK(asl::exp_nonpositive(-3e38f) == 0.0f);
    CHECK(std::isnan(asl::exp_nonpositive(kNaN)));
    CHECK(std::isnan(asl::exp_nonpositive(-kNaN)));
}

TEST(log1p_is_accurate_relative_to_its_value) {
    double worst = 0.0;
    for (int i = 1; i <= 200000; ++i) {
        const float linear = static_cast<float>(i) / 200000.0f, tiny = std::ldexp(linear, -(i % 140));
        for (const float e : {linear, tiny}) {
            if (e < 1e-37f) continue;
            const double expected = std::log1p(static_cast<double>(e));
            worst = std::max(worst, std::abs(asl::log1p_unit(e) - expected) / expected);
        }
    }
    CHECK(worst < 4 * kUlp);
    CHECK(asl::log1p_unit(0.0f) == 0.0f);
    CHECK(std::isnan(asl::log1p_unit(kNaN)));
}

TEST(a_share_of_nothing_is_nothing) {
    CHECK(asl::share(0.0f, 0.0f) == 0.0f);
    CHECK(asl::share(0.0, 0.0) == 0.0);
    CHECK(asl::share(0x1p-149f, 0x1p-148f) == 0.5f);
    CHECK(asl::share(0.75f, 0.75f) == 1.0f);
    CHECK(asl::share(0.0f, asl::reciprocal(2.0f)) == 0.0f);
    CHECK(std::isnan(asl::share(kNaN, kNaN)));
    CHECK(std::isnan(asl::reciprocal(kNaN)));
}

TEST(every_instruction_set_gives_the_same_bits) {
    compare::Random random(1);
    std::vector<float> x = random.values<float>(1003, -110.0, 0.0);
    x[7] = kNaN;
    std::vector<float> expected(2 * x.size());
    ExpLoop::run(x.data(), 1003, expected.data(), expected.data() + 1003);
    for (int level = 0; level <= static_cast<int>(asl::simd_level()); ++level) {
        std::vector<float> found(2 * x.size());
        asl::simd_call<ExpLoop>(static_cast<asl::SimdLevel>(level), static_cast<const float*>(x.data()),
                                std::int64_t{1003}, found.data(), found.data() + 1003);
        for (std::size_t i = 0; i < found.size(); ++i)
            CHECK(found[i] == expected[i] || (std::isnan(found[i]) && std::isnan(expected[i])));
    }
}

TEST(half_precision_is_read_exactly) {
    for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) {
        const int exponent = (bits >> 10) & 31, mantissa = bits & 1023;
        const double sign = bits & 0x8000u ? -1.0 : 1.0;
        const float found = asl::from_float16(static_cast<std::uint16_t>(bits));
        if (exponent == 31)
            CHECK(mantissa ? std::isnan(found) : found == sign * std::numeric_limits<float>::infinity());
        else
            CHECK(found == sign * (exponent ? std::ldexp(1024 + mantissa, exponent - 25) : std::ldexp(mantissa, -24)));
        const float wide = asl::from_bfloat16(static_cast<std::uint16_t>(bits));
        CHECK(asl::to_bfloat16(wide) == bits || std::isnan(wide));
    }
}

TEST(bfloat16_is_rounded_to_the_nearest_and_ties_to_even) {
    CHECK(asl::to_bfloat16(1.0f + 0x1p-8f) == 0x3F80);            // a tie: down to even
    CHECK(asl::to_bfloat16(1.0f + 0x1p-7f + 0x1p-8f) == 0x3F82);  // a tie: up to even
    CHECK(asl::to_bfloat16(1.0f + 0x1p-8f + 0x1p-20f) == 0x3F81);
    CHECK(asl::to_bfloat16(3.4e38f) == 0x7F80);  // overflows to infinity
    CHECK(asl::to_bfloat16(kNaN) == 0x7FC0);
    CHECK(asl::to_bfloat16(asl::same_bits<float>(0xFFFFFFFFu)) == 0x7FC0);
}

TEST(buffers_convert_on_the_way_in_and_out) {
    const double wide[] = {0.1, -2.0, 3.0};
    float narrow[2];
    asl::load(asl::Source(wide, asl::Dtype::kFloat64), 1, 2, narrow);
    CHECK(narrow[0] == -2.0f && narrow[1] == 3.0f);
    std::uint16_t half[2] = {0, 0};
    asl::store(narrow, 1, asl::Sink(half, asl::Dtype::kBFloat16), 1);
    CHECK(half[0] == 0 && half[1] == 0xC000);
    double back[1];
    asl::load(asl::Source(half, asl::Dtype::kBFloat16), 1, 1, back);
    CHECK(back[0] == -2.0);
}

TEST(sums_do_not_depend_on_the_number_of_threads) {
    compare::Random random(2);
    const std::vector<float> values = random.values<float>(10007, -1.0, 1.0);
    const auto body = [&](std::int64_t begin, std::int64_t end) {
        return asl::lane_sum(values.data() + begin, end - begin);
    };
    const double expected = asl::parallel_sum(10007, 100, 1, body);
    double plain = 0.0;
    for (const float value : values) plain += value;
    CHECK_NEAR(expected, plain, 1e-11);
    for (const int threads : {2, 3, 7}) CHECK(asl::parallel_sum(10007, 100, threads, body) == expected);
    CHECK(asl::parallel_sum(0, 100, 2, body) == 0.0);
    CHECK(asl::worthwhile_threads(10, 100, 4) == 1);
    CHECK(asl::worthwhile_threads(250, 100, 4) == 2);
    CHECK(asl::worthwhile_threads(1000, 100, 4) == 4);
}
