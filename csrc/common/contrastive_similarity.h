// SPDX-License-Identifier: Apache-2.0
// Frames an instance looks at, and how they enter its three vectors; for one instance.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "common/elementary.h"

namespace asl {

/// First and last are both included; 0 and -1 where there is none.
struct FrameRange {
    std::int32_t first, last;

    ASL_HOST_DEVICE bool has(std::int64_t t) const { return t >= first && t <= last; }
    ASL_HOST_DEVICE std::int32_t size() const { return last < first ? 0 : last - first + 1; }
};

/// Frames in one of two ranges or in both.
ASL_HOST_DEVICE std::int32_t union_size(FrameRange a, FrameRange b) {
    const FrameRange both{a.first > b.first ? a.first : b.first, a.last < b.last ? a.last : b.last};
    return a.size() + b.size() - (a.size() != 0 && b.size() != 0 ? both.size() : 0);
}

enum class InstanceState : std::int32_t { kAbsent = 0, kNoBackground = 1, kWhole = 2 };

/// A row of `ranges` (G, 12) int32.
struct InstanceFrames {
    FrameRange sensitive[3];   // around the argmax of p_cls, p_start, p_end
    FrameRange background[2];  // before and after the instance
    std::int32_t video;
    InstanceState state;

    /// Label of f_cls and f_loc (kind 0 and 1) and f_bg (2): a class, -1 background, -2 takes no part.
    ASL_HOST_DEVICE std::int64_t label(int kind, std::int64_t own) const {
        if (state == InstanceState::kAbsent) return -2;
        return kind < 2 ? own : state == InstanceState::kWhole ? -1 : -2;
    }

    ASL_HOST_DEVICE FrameRange hull(bool with_background) const {
        FrameRange hull{sensitive[0]};
        const auto widen = [&hull](FrameRange range) {
            if (range.size() == 0) return;
            hull.first = range.first < hull.first ? range.first : hull.first;
            hull.last = range.last > hull.last ? range.last : hull.last;
        };
        widen(sensitive[1]);
        widen(sensitive[2]);
        if (!with_background) return hull;
        widen(background[0]);
        widen(background[1]);
        return hull;
    }
};
static_assert(sizeof(InstanceFrames) == 12 * sizeof(std::int32_t), "a row of ranges");

/// A number within [0, last], NaN counts as 0.
template <class Real>
ASL_HOST_DEVICE Real bounded_frame(Real value, Real last) {
    return std::fmin(std::fmax(value, Real(0)), last);
}

/// A Gaussian over the frames of an instance is largest at the frame nearest to its mean; the earlier one on a tie.
/// In the operations of the reference, one by one, so that the same frames come out.
template <class Real>
ASL_HOST_DEVICE InstanceFrames instance_frames(Real start, Real end, const Real mu[3], Real delta, std::int64_t video,
                                               std::int64_t last_frame) {
    InstanceFrames out;
    out.video = static_cast<std::int32_t>(video);
    const Real last = static_cast<Real>(last_frame), bound = last > 0 ? last : Real(0);
    const Real centre = (start + end) / 2, length = end - start, reach = product(delta, length);
    const Real half = Real(0.5);
    const bool valid = end > -half && start < last + half && length > 0 && last_frame >= 0;
    Real first_inside = std::ceil(start), last_inside = std::floor(end);
    if (!(first_inside <= last_inside)) first_inside = last_inside = std::ceil(centre - half);
    first_inside = bounded_frame(first_inside, bound);
    last_inside = bounded_frame(last_inside, bound);
    for (int kind = 0; kind < 3; ++kind) {
        const Real nearest = std::ceil((centre + product(mu[kind], length)) - half);
        const Real peak = std::fmin(std::fmax(nearest, first_inside), last_inside);
        // A reach below 0 belongs to no instance, but may be too large for an integer.
        const Real from = std::fmin(std::fmax(std::ceil(peak - reach), first_inside), bound);
        const Real to = std::fmax(std::fmin(std::floor(peak + reach), last_inside), Real(0));
        out.sensitive[kind] = {static_cast<std::int32_t>(from), static_cast<std::int32_t>(to)};
    }
    const Real before = std::fmin(std::fmax(std::ceil(start - reach), Real(0)), bound + 1);
    const Real after = std::fmin(std::fmax(std::ceil(end), Real(0)), bound + 1);
    const Real before_last = std::fmax(std::fmin(std::floor(start), last), Real(-1));
    const Real after_last = std::fmax(std::fmin(std::floor(end + reach), last), Real(-1));
    out.background[0] = {static_cast<std::int32_t>(before), static_cast<std::int32_t>(before_last)};
    out.background[1] = {static_cast<std::int32_t>(after), static_cast<std::int32_t>(after_last)};
    for (FrameRange& range : out.background)
        if (!valid || range.size() == 0) range = FrameRange{0, -1};
    for (FrameRange& range : out.sensitive)
        if (!valid) range = FrameRange{0, -1};
    const bool background = out.background[0].size() + out.background[1].size() > 0;
    out.state = !valid ? InstanceState::kAbsent : !background ? InstanceState::kNoBackground : InstanceState::kWhole;
    return out;
}

/// What one frame adds: its weights in f_cls, f_loc and f_bg, and for the gradient p and z = (d - mu) / sigma.
template <class Real>
struct FrameShare {
    Real weight[3], p[3], z[3];
};

template <class Real>
struct Pooling {
    Real centre, length, mu[3], sigma[3];
    Real share[3];  // one over the number of frames in each of the three means
    InstanceFrames frames;

    ASL_HOST_DEVICE void set(const InstanceFrames& of, Real start, Real end, const Real* own_mu,
                             const Real* own_sigma) {
        frames = of;
        centre = (start + end) / 2;
        const Real smallest = sizeof(Real) == sizeof(float) ? Real(1.1920929e-7) : Real(2.220446049250313e-16);
        length = std::fmax(end - start, smallest);
        for (int kind = 0; kind < 3; ++kind) {
            mu[kind] = own_mu[kind];
            sigma[kind] = own_sigma[kind];
        }
        const std::int32_t sizes[3] = {of.sensitive[0].size(), union_size(of.sensitive[1], of.sensitive[2]),
                                       union_size(of.background[0], of.background[1])};
        for (int kind = 0; kind < 3; ++kind)
            share[kind] = Real(1) / static_cast<Real>(sizes[kind] > 1 ? sizes[kind] : 1);
    }

    /// 1 / (number of frames) on the frames of R_cls, R_loc and the background, else 0.
    ASL_HOST_DEVICE Real share_of(int kind, std::int64_t t) const {
        const bool within = kind == 0   ? frames.sensitive[0].has(t)
                            : kind == 1 ? frames.sensitive[1].has(t) || frames.sensitive[2].has(t)
                                        : frames.background[0].has(t) || frames.background[1].has(t);
        return within ? share[kind] : Real(0);
    }

    /// Frames outside the instance occur only where it is shorter than a grid step: they count as its boundary.
    ASL_HOST_DEVICE FrameShare<Real> at(std::int64_t t) const {
        FrameShare<Real> out;
        const Real half = Real(0.5);
        const Real distance = std::fmin(std::fmax((static_cast<Real>(t) - centre) / length, -half), half);
        for (int kind = 0; kind < 3; ++kind) {
            out.z[kind] = (distance - mu[kind]) / sigma[kind];
            out.p[kind] = std::exp(-half * product(out.z[kind], out.z[kind]));
        }
        out.weight[0] = out.p[0] * share_of(0, t);
        out.weight[1] = (out.p[1] + out.p[2]) * share_of(1, t);
        out.weight[2] = share_of(2, t);
        return out;
    }
};

/// One over the length of a vector, from its square; a vector of length 0 stays as it is, without gradient.
template <class Real>
ASL_HOST_DEVICE Real inverse_length(Real squared) {
    if (squared > kLeastNormal<Real>) return Real(1) / std::sqrt(squared);
    return squared == squared ? Real(0) : squared;
}

}  // namespace asl
