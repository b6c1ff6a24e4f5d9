// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "compare.h"
#include "cpu/segment_iou_ragged.h"
#include "harness.h"

namespace {

using Sizes = std::vector<std::int64_t>;

std::vector<float> segments(compare::Random& random, std::int64_t count) {
    std::vector<float> result;
    for (std::int64_t i = 0; i < count; ++i) {
        result.push_back(static_cast<float>(random.uniform(0.0, 8.0)));
        result.push_back(result.back() + static_cast<float>(random.uniform(-0.5, 4.0)));
    }
    return result;
}

/// Videos of n and m segments each, and what the op makes of them.
struct Batch {
    Sizes n, m, a_offsets{0}, b_offsets{0}, pair_offsets{0};
    std::vector<float> a, b, grad;

    Batch(const Sizes& n, const Sizes& m) : n(n), m(m) {
        for (std::size_t video = 0; video < n.size(); ++video) {
            a_offsets.push_back(a_offsets.back() + n[video]);
            b_offsets.push_back(b_offsets.back() + m[video]);
            pair_offsets.push_back(pair_offsets.back() + n[video] * m[video]);
        }
        compare::Random random(12);
        a = segments(random, a_offsets.back());
        b = segments(random, b_offsets.back());
        grad = random.values<float>(pair_offsets.back(), -1.0, 1.0);
    }

    struct Result {
        std::vector<float> values, grad_a, grad_b;
        Sizes offsets;

        bool operator==(const Result& other) const {
            return values == other.values && grad_a == other.grad_a && grad_b == other.grad_b &&
                   offsets == other.offsets;
        }
    };

    template <bool kDistance>
    Result run(std::int64_t spare, int threads) const {
        const float nan = std::numeric_limits<float>::quiet_NaN();
        Result result{std::vector<float>(grad.size() + spare, nan), std::vector<float>(a.size(), nan),
                      std::vector<float>(b.size(), nan), Sizes(a_offsets.size(), -1)};
        const asl::RaggedSegments<float> in{a.data(), b.data(), a_offsets.data(), b_offsets.data(),
                                            static_cast<std::int64_t>(n.size())};
        const asl::SegmentIouRagged<kDistance, float> op(in, threads);
        op.forward(static_cast<std::int64_t>(result.values.size()), result.values.data(), result.offsets.data());
        op.backward(grad.data(), result.grad_a.data(), result.grad_b.data());
        return result;
    }
};

/// Each video by the dense op.
template <bool kDistance>
void check_against_dense(const Sizes& n, const Sizes& m) {
    const Batch batch(n, m);
    const auto found = batch.run<kDistance>(3, 1);
    CHECK(found.offsets == batch.pair_offsets);
    for (std::size_t i = batch.grad.size(); i < found.values.size(); ++i) CHECK(found.values[i] == 0.0f);
    for (std::size_t video = 0; video < n.size(); ++video) {
        const std::int64_t row = batch.a_offsets[video], column = batch.b_offsets[video];
        const std::int64_t pair = batch.pair_offsets[video];
        std::vector<float> values(n[video] * m[video]), grad_a(2 * n[video]), grad_b(2 * m[video]);
        const asl::SegmentIou<kDistance, float> dense(
            {batch.a.data() + 2 * row, batch.b.data() + 2 * column, 1, n[video], m[video]}, false, 1);
        dense.forward(values.data());
        dense.backward(batch.grad.data() + pair, grad_a.data(), grad_b.data());
        for (std::size_t i = 0; i < values.size(); ++i) CHECK(found.values[pair + i] == values[i]);
        for (std::size_t i = 0; i < grad_a.size(); ++i) CHECK(found.grad_a[2 * row + i] == grad_a[i]);
        for (std::size_t i = 0; i < grad_b.size(); ++i) CHECK(found.grad_b[2 * column + i] == grad_b[i]);
    }
}

}  // namespace

TEST(segment_iou_ragged_has_the_bits_of_each_video_alone) {
    for (const auto& [n, m] : std::vector<std::pair<Sizes, Sizes>>{
             {{}, {}}, {{0}, {3}}, {{4, 0, 5}, {0, 2, 7}}, {{1, 700, 3, 0}, {9, 130, 33, 0}}, {{70, 1}, {1, 64}}}) {
        check_against_dense<false>(n, m);
        check_against_dense<true>(n, m);
    }
}

TEST(segment_iou_ragged_is_the_same_for_any_number_of_threads) {
    const Batch batch({900, 2, 0, 1500, 40}, {600, 500, 4, 333, 0});
    const auto alone = batch.run<true>(0, 1);
    CHECK(batch.run<true>(0, 2) == alone);
    CHECK(batch.run<true>(0, 5) == alone);
}
