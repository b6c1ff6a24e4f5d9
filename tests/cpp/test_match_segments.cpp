// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <vector>

#include "common/match_segments.h"
#include "harness.h"

namespace {

struct Problem {
    std::vector<double> predictions, annotations, thresholds;
    std::vector<std::int64_t> group, group_offsets;
    asl::MatchRule rule{0.0, false, false};
    std::vector<std::int32_t> matched;
    std::vector<std::uint8_t> tied;

    void solve(std::int64_t shares = 1) {
        const asl::MatchInput input{
            predictions.data(),   group.data(),      static_cast<std::int64_t>(group.size()),     annotations.data(),
            group_offsets.data(), thresholds.data(), static_cast<std::int64_t>(thresholds.size())};
        matched.assign(thresholds.size() * group.size(), -1);
        tied.assign(group_offsets.size() - 1, 0);
        std::vector<std::uint8_t> taken(annotations.size() / 2 * thresholds.size());
        for (std::int64_t share = 0; share < shares; ++share)
            asl::SegmentMatcher(input, rule).run(share, shares, taken, {matched.data(), tied.data()});
    }
};

}  // namespace

TEST(match_takes_the_best_free_annotation_at_each_threshold) {
    Problem problem;
    problem.annotations = {0, 10, 2, 12};
    problem.group_offsets = {0, 2};
    problem.predictions = {0, 10, 0.2, 10, 0, 10};
    problem.group = {0, 0, 0};
    problem.thresholds = {0.5, 0.9};
    problem.solve();
    CHECK((problem.matched == std::vector<std::int32_t>{0, 1, -1, 0, -1, -1}));
    CHECK(problem.tied[0] == 0);
}

TEST(match_counts_iou_equal_to_the_threshold) {
    Problem problem;
    problem.annotations = {0, 10};
    problem.group_offsets = {0, 1};
    problem.predictions = {0, 5};
    problem.group = {0};
    problem.thresholds = {0.5};
    problem.solve();
    CHECK(problem.matched[0] == 0);
}

TEST(match_breaks_ties_as_told_and_reports_them) {
    for (const bool last : {false, true}) {
        Problem problem;
        problem.annotations = {0, 10, 5, 15, 5, 15};
        problem.group_offsets = {0, 3};
        problem.predictions = {2.5, 12.5};
        problem.group = {0};
        problem.thresholds = {0.5};
        problem.rule.last_wins = last;
        problem.solve();
        CHECK(problem.matched[0] == (last ? 2 : 0));
        CHECK(problem.tied[0] == 1);
    }
}

TEST(match_does_not_report_ties_of_identical_annotations) {
    Problem problem;
    problem.annotations = {5, 15, 5, 15};
    problem.group_offsets = {0, 2};
    problem.predictions = {5, 14};
    problem.group = {0};
    problem.thresholds = {0.5};
    problem.solve();
    CHECK(problem.matched[0] == 0);
    CHECK(problem.tied[0] == 0);
}

TEST(match_of_empty_unions_follows_the_rule) {
    for (const bool matches : {false, true}) {
        for (const double floor : {0.0, 1e-8}) {
            Problem problem;
            problem.annotations = {20, 20, 0, 0};
            problem.group_offsets = {0, 2};
            problem.predictions = {20, 20, 7, 7};
            problem.group = {0, 0};
            problem.thresholds = {0.1};
            problem.rule = {floor, matches, false};
            problem.solve();
            const bool found = matches && floor == 0.0;
            CHECK(problem.matched[0] == (found ? 0 : -1));
            CHECK(problem.matched[1] == (found ? 1 : -1));
        }
    }
}

TEST(match_is_the_same_for_any_number_of_shares) {
    Problem problem;
    problem.thresholds = {0.1, 0.5, 0.7};
    problem.group_offsets = {0};
    std::uint32_t state = 1;
    const auto random = [&state] { return static_cast<double>((state = state * 1664525u + 1013904223u) >> 16); };
    for (int g = 0; g < 20; ++g) {
        for (int i = 0; i < g; ++i) {
            const double start = random();
            problem.annotations.insert(problem.annotations.end(), {start, start + 9000 + random() / 8});
        }
        problem.group_offsets.push_back(static_cast<std::int64_t>(problem.annotations.size() / 2));
    }
    for (int p = 0; p < 500; ++p) {
        const double start = random();
        problem.predictions.insert(problem.predictions.end(), {start, start + 9000 + random() / 8});
        problem.group.push_back(p % 21 - 1);
    }
    problem.solve();
    const std::vector<std::int32_t> expected = problem.matched;
    int hits = 0;
    for (const std::int32_t m : expected) hits += m >= 0;
    CHECK(hits > 50);
    for (const std::int64_t shares : {2, 3, 7}) {
        problem.solve(shares);
        CHECK(problem.matched == expected);
    }
}

TEST(match_accepts_nothing) {
    Problem problem;
    problem.group_offsets = {0};
    problem.thresholds = {0.5};
    problem.solve();
    CHECK(problem.matched.empty());
}
