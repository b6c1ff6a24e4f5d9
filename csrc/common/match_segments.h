// SPDX-License-Identifier: Apache-2.0
// Greedy matching of detections to annotations at several temporal IoU thresholds in one pass over the detections.
// Same operations in the same order as asl_fast/evaluation/matching.py, in double: the same bits.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace asl {

struct MatchRule {
    double union_floor;        // unions are raised to this before dividing; 0 = not
    bool empty_union_matches;  // 0/0 counts as more than any threshold
    bool last_wins;            // among equally overlapping annotations, the last one; else the first
};

struct MatchInput {
    const double* predictions;          // (M, 2), best score first inside each group
    const std::int64_t* group;          // (M,), -1 = none
    std::int64_t count;                 // M
    const double* annotations;          // (G, 2), sorted by group
    const std::int64_t* group_offsets;  // (K + 1,)
    const double* thresholds;           // (T,), all positive
    std::int64_t num_thresholds;        // T
};

struct MatchOutput {
    std::int32_t* matched;  // (T, M), filled with -1 by the caller
    std::uint8_t* tied;     // (K,), filled with 0: 1 where different annotations overlapped a prediction equally
};

/// IoU of two segments with `inter` > 0 or an empty union; infinity where 0/0 matches.
inline double match_iou(const double* a, const double* b, double inter, const MatchRule& rule) {
    double total = (b[1] - b[0]) + (a[1] - a[0]) - inter;  // negative for a reversed segment
    if (rule.union_floor > 0.0) total = std::max(total, rule.union_floor);
    if (total == 0.0) return rule.empty_union_matches ? std::numeric_limits<double>::infinity() : 0.0;
    return inter / total;
}

/// Matches the groups g with g % num_shares == share; several shares may run at once on the same output.
class SegmentMatcher {
  public:
    SegmentMatcher(const MatchInput& input, const MatchRule& rule) : input_(input), rule_(rule) {
        lowest_ = std::numeric_limits<double>::infinity();
        for (std::int64_t t = 0; t < input.num_thresholds; ++t) lowest_ = std::min(lowest_, input.thresholds[t]);
        // Without this no pair that does not overlap can match, whatever its union.
        far_pairs_match_ = rule.empty_union_matches && !(rule.union_floor > 0.0);
    }

    void run(std::int64_t share, std::int64_t num_shares, std::vector<std::uint8_t>& taken, const MatchOutput& output) {
        for (std::int64_t p = 0; p < input_.count; ++p) {
            const std::int64_t g = input_.group[p];
            if (g < 0 || (num_shares > 1 && g % num_shares != share)) continue;
            collect(input_.predictions + 2 * p, input_.group_offsets[g], input_.group_offsets[g + 1]);
            if (candidates_.empty()) continue;
            if (candidates_.size() > 1 && sort_candidates()) output.tied[g] = 1;
            take(p, taken, output);
        }
    }

  private:
    struct Candidate {
        double iou;
        std::int64_t annotation;
    };

    void collect(const double* prediction, std::int64_t begin, std::int64_t end) {
        candidates_.clear();
        for (std::int64_t a = begin; a < end; ++a) {
            const double* annotation = input_.annotations + 2 * a;
            const double inter =
                std::max(std::min(prediction[1], annotation[1]) - std::max(prediction[0], annotation[0]), 0.0);
            if (!(inter > 0.0) && !far_pairs_match_) continue;
            const double iou = match_iou(prediction, annotation, inter, rule_);
            if (iou >= lowest_) candidates_.push_back({iou, a});
        }
    }

    /// Best first; returns whether the rule for ties decided between annotations that are not identical.
    bool sort_candidates() {
        const bool last = rule_.last_wins;
        std::sort(candidates_.begin(), candidates_.end(), [last](const Candidate& x, const Candidate& y) {
            return x.iou != y.iou ? x.iou > y.iou : (x.annotation < y.annotation) != last;
        });
        for (std::size_t i = 1; i < candidates_.size(); ++i) {
            if (candidates_[i].iou != candidates_[i - 1].iou) continue;
            const double* a = input_.annotations + 2 * candidates_[i].annotation;
            const double* b = input_.annotations + 2 * candidates_[i - 1].annotation;
            if (a[0] != b[0] || a[1] != b[1]) return true;
        }
        return false;
    }

    void take(std::int64_t p, std::vector<std::uint8_t>& taken, const MatchOutput& output) {
        for (std::int64_t t = 0; t < input_.num_thresholds; ++t) {
            for (const Candidate& candidate : candidates_) {
                if (candidate.iou < input_.thresholds[t]) break;
                std::uint8_t& used = taken[static_cast<std::size_t>(candidate.annotation * input_.num_thresholds + t)];
                if (used) continue;
                used = 1;
                output.matched[t * input_.count + p] = static_cast<std::int32_t>(candidate.annotation);
                break;
            }
        }
    }

    const MatchInput& input_;
    const MatchRule& rule_;
    double lowest_;
    bool far_pairs_match_;
    std::vector<Candidate> candidates_;
};

}  // namespace asl
