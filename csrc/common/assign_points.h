// SPDX-License-Identifier: Apache-2.0
// Which segment claims which point of the pyramid, and what the point then regresses to (Zhang et al., ECCV 2022, 3.3).
// Every operation rounds as in asl_fast/reference/assign_points.py: the same bits.
#pragma once

#include "common/elementary.h"
#include "common/host_device.h"

namespace asl {

template <class Real>
struct GridPoint {
    Real time, low, high, stride;
};

template <class Real>
struct ClaimRule {
    Real radius;  // in strides
    bool whole;   // the whole segment claims, whatever the radius
    Real tie_tolerance;
};

/// Times strictly between `from` and `to`.
template <class Real>
struct ClaimWindow {
    Real from, to;
};

/// Where a segment claims points of this stride: inside of it and less than `radius` strides from its centre.
template <class Real>
ASL_HOST_DEVICE ClaimWindow<Real> claim_window(Real start, Real end, Real stride, const ClaimRule<Real>& rule) {
    if (rule.whole) return {start, end};
    const Real centre = Real(0.5) * (start + end), reach = product(stride, rule.radius);
    const Real from = centre - reach, to = centre + reach;
    return {from < start ? start : from, to > end ? end : to};  // NaN stays NaN and claims nothing
}

/// Whether the larger distance to the boundaries is in the closed regression range of the point's level.
template <class Real>
ASL_HOST_DEVICE bool in_regression_range(const GridPoint<Real>& point, Real start, Real end) {
    const Real left = point.time - start, right = end - point.time;
    const Real reach = left > right ? left : right;
    return reach >= point.low && reach <= point.high;
}

template <class Real>
struct PointTarget {
    Real left, right;  // distances to start and end, in strides
    Real distance;     // (time - centre) / length
};

template <class Real>
ASL_HOST_DEVICE PointTarget<Real> point_target(const GridPoint<Real>& point, Real start, Real end) {
    return {(point.time - start) / point.stride, (end - point.time) / point.stride,
            (point.time - Real(0.5) * (start + end)) / (end - start)};
}

}  // namespace asl
