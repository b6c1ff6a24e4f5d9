// SPDX-License-Identifier: Apache-2.0
// Assignment of the points of a pyramid to the segments of many videos.
//
// Points of one level rise in time, so a segment looks up the few that it can claim: the work follows the claims, not
// points x segments. Points in any other order are correct too, as many short levels.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "common/assign_points.h"
#include "cpu/sums.h"

namespace asl {

template <class Real>
struct AssignInput {
    const GridPoint<Real>* points;
    std::int64_t num_points;
    const Real* segments;               // (G, 2)
    const std::int64_t* labels;         // (G,)
    const std::int64_t* video_offsets;  // (videos + 1,)
    std::int64_t videos, classes;
};

template <class Real>
struct AssignOutput {
    Real* class_targets;     // (videos, points, classes)
    Real* offsets;           // (videos, points, 2)
    std::int64_t* instance;  // (videos, points)
    Real* distance;          // (videos, points)
};

/// Points [begin, end) with one range and stride, in rising order of time.
struct Level {
    std::int64_t begin, end;
};

template <class Real>
std::vector<Level> find_levels(const GridPoint<Real>* points, std::int64_t count) {
    std::vector<Level> levels;
    for (std::int64_t i = 0; i < count; ++i) {
        const GridPoint<Real>&point = points[i], &before = points[i > 0 ? i - 1 : 0];
        const bool same = i > 0 && point.time >= before.time && point.low == before.low && point.high == before.high &&
                          point.stride == before.stride;
        if (same)
            levels.back().end = i + 1;
        else
            levels.push_back({i, i + 1});  // also where anything is NaN
    }
    return levels;
}

/// Assigns one video after the other; the memory is reused.
template <class Real>
class PointAssigner {
  public:
    PointAssigner(const AssignInput<Real>& input, const ClaimRule<Real>& rule, const std::vector<Level>& levels,
                  const AssignOutput<Real>& output)
        : in_(input), rule_(rule), levels_(levels), out_(output) {}

    void run(std::int64_t video) {
        const std::int64_t first = video * in_.num_points;
        classes_ = out_.class_targets + first * in_.classes;
        offsets_ = out_.offsets + 2 * first;
        instance_ = out_.instance + first;
        distance_ = out_.distance + first;
        std::fill(classes_, classes_ + in_.num_points * in_.classes, Real(0));
        std::fill(offsets_, offsets_ + 2 * in_.num_points, Real(0));
        std::fill(instance_, instance_ + in_.num_points, std::int64_t{-1});
        std::fill(distance_, distance_ + in_.num_points, Real(0));
        shortest_.assign(static_cast<std::size_t>(in_.num_points), std::numeric_limits<Real>::infinity());
        claims_.clear();
        for (const Level& level : levels_)
            for (std::int64_t s = in_.video_offsets[video]; s < in_.video_offsets[video + 1]; ++s) collect(level, s);
        for (const Claim& claim : claims_) settle(claim);
    }

  private:
    struct Claim {
        std::int64_t point, segment;
    };

    Real start(std::int64_t s) const { return in_.segments[2 * s]; }
    Real end(std::int64_t s) const { return in_.segments[2 * s + 1]; }
    Real length(std::int64_t s) const { return end(s) - start(s); }
    Real& shortest(std::int64_t p) { return shortest_[static_cast<std::size_t>(p)]; }

    /// Claims of one segment on one level. Segments come in their order: the first of the shortest stays.
    void collect(const Level& level, std::int64_t s) {
        const Real from = start(s), to = end(s), size = length(s);
        if (!(from < to) || !(size < std::numeric_limits<Real>::infinity())) return;
        const GridPoint<Real>& sample = in_.points[level.begin];
        // The larger distance to the boundaries is at least half of the length and at most the length. Both that and
        // the distance come from one subtraction each: their rounding is far below the margin.
        const double wide = static_cast<double>(size);
        if (0.5 * wide > static_cast<double>(sample.high) * 1.00001 + 1e-30) return;
        if (wide * 1.00001 + 1e-30 < static_cast<double>(sample.low)) return;
        const ClaimWindow<Real> window = claim_window(from, to, sample.stride, rule_);
        // Rounded differences are monotone in time, so both conditions hold from some point on.
        const auto before = [&](const GridPoint<Real>& point) {
            return !(point.time > window.from && to - point.time <= point.high);
        };
        const GridPoint<Real>* stop = in_.points + level.end;
        const GridPoint<Real>* point = std::partition_point(in_.points + level.begin, stop, before);
        for (; point != stop && point->time < window.to && point->time - from <= point->high; ++point) {
            if (!in_regression_range(*point, from, to)) continue;
            const std::int64_t p = point - in_.points;
            claims_.push_back({p, s});
            if (size < shortest(p)) {
                shortest(p) = size;
                instance_[p] = s;
            }
        }
    }

    void settle(const Claim& claim) {
        const std::int64_t p = claim.point, s = claim.segment;
        if (length(s) <= shortest(p) + rule_.tie_tolerance) classes_[p * in_.classes + in_.labels[s]] = Real(1);
        if (instance_[p] != s) return;
        const PointTarget<Real> target = point_target(in_.points[p], start(s), end(s));
        offsets_[2 * p] = target.left;
        offsets_[2 * p + 1] = target.right;
        distance_[p] = target.distance;
    }

    const AssignInput<Real> in_;
    const ClaimRule<Real> rule_;
    const std::vector<Level>& levels_;
    const AssignOutput<Real> out_;
    Real *classes_, *offsets_, *distance_;
    std::int64_t* instance_;
    std::vector<Real> shortest_;
    std::vector<Claim> claims_;
};

template <class Real>
void assign_points(const AssignInput<Real>& input, const ClaimRule<Real>& rule, const AssignOutput<Real>& output,
                   int threads) {
    const std::vector<Level> levels = find_levels(input.points, input.num_points);
    const std::int64_t values = input.videos * input.num_points * (input.classes + 4);
    const int useful = worthwhile_threads(values, 1000000, threads);
    parallel_for(input.videos, 1, useful, [&](std::int64_t begin, std::int64_t end) {
        PointAssigner<Real> assigner(input, rule, levels, output);
        for (std::int64_t video = begin; video < end; ++video) assigner.run(video);
    });
}

}  // namespace asl
