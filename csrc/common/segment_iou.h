// SPDX-License-Identifier: Apache-2.0
// Temporal IoU and distance IoU of two segments, and their derivatives.
//
// A reversed segment has length 0 and overlaps nothing. Both are 0 where their denominator is; NaN gives NaN.
#pragma once

#include "common/elementary.h"
#include "common/host_device.h"

namespace asl {

template <class Real>
ASL_HOST_DEVICE Real smaller_of(Real a, Real b) {
    return a < b ? a : b;
}

template <class Real>
ASL_HOST_DEVICE Real larger_of(Real a, Real b) {
    return a > b ? a : b;
}

/// max(0, x), NaN for NaN.
template <class Real>
ASL_HOST_DEVICE Real positive_part(Real x) {
    return x < Real(0) ? Real(0) : x;
}

/// A length to divide by, which is not 0: where a union or a hull has no length, what it divides is exactly 0, and so
/// is the quotient. NaN gives NaN.
ASL_HOST_DEVICE double divisor_of(double length) { return length <= 0.0 ? 1.0 : length; }

/// On a GPU by adding the least normal number, which is lost in every length above some 1e-31.
ASL_HOST_DEVICE float divisor_of(float length) {
#if defined(__CUDA_ARCH__)
    return length + kLeastNormal<float>;
#else
    return length <= 0.0f ? 1.0f : length;
#endif
}

/// IoU, or with `kDistance` IoU - (distance of the centres / length of the hull)².
template <bool kDistance, class Real>
ASL_HOST_DEVICE Real segment_iou(Real start_a, Real end_a, Real start_b, Real end_b) {
    const Real intersection = positive_part(smaller_of(end_a, end_b) - larger_of(start_a, start_b));
    // A NaN is in one of the lengths, and so in the union.
    const Real total = (positive_part(end_a - start_a) + positive_part(end_b - start_b)) - intersection;
    const Real iou = quotient(intersection, divisor_of(total));
    if constexpr (!kDistance) return iou;
    const Real between = ((start_a - start_b) + (end_a - end_b)) * Real(0.5);
    const Real hull = larger_of(larger_of(start_a, end_a), larger_of(start_b, end_b)) -
                      smaller_of(smaller_of(start_a, end_a), smaller_of(start_b, end_b));
    const Real apart = quotient(between, divisor_of(hull));
    return iou - apart * apart;
}

template <class Real>
struct SegmentSlopes {
    Real a[2], b[2];  // with respect to start and end
};

/// d max(larger, smaller) / d larger: 1, 0, or a half at a tie.
template <class Real>
ASL_HOST_DEVICE Real max_share(Real larger, Real smaller) {
    return larger == smaller ? Real(0.5) : (larger > smaller ? Real(1) : Real(0));
}

template <class Real>
ASL_HOST_DEVICE void segment_hull_slopes(Real start_a, Real end_a, Real start_b, Real end_b, SegmentSlopes<Real>& to) {
    const Real zero = 0, one = 1, half = Real(0.5);
    const Real low_a = smaller_of(start_a, end_a), high_a = larger_of(start_a, end_a);
    const Real low_b = smaller_of(start_b, end_b), high_b = larger_of(start_b, end_b);
    const Real hull = larger_of(high_a, high_b) - smaller_of(low_a, low_b);
    const bool point = hull < kLeastNormal<Real>;
    const Real inverse = one / (point ? one : hull);
    const Real ratio = ((start_a - start_b) + (end_a - end_b)) * half * inverse;
    const Real scale = point ? zero : (ratio + ratio) * inverse;
    // d ratio² = 2 ratio (d centre distance - ratio d hull) / hull; a reversed segment reaches up with its start.
    const Real up_a = max_share(high_a, high_b), up_b = max_share(high_b, high_a);
    const Real down_a = -max_share(low_b, low_a), down_b = -max_share(low_a, low_b);
    const bool reverse_a = end_a < start_a, reverse_b = end_b < start_b;
    to.a[0] -= scale * (half - ratio * (reverse_a ? up_a : down_a));
    to.a[1] -= scale * (half - ratio * (reverse_a ? down_a : up_a));
    to.b[0] -= scale * (-half - ratio * (reverse_b ? up_b : down_b));
    to.b[1] -= scale * (-half - ratio * (reverse_b ? down_b : up_b));
}

/// Derivatives of segment_iou. The IoU part is 0 where the two do not overlap or their union is NaN, the rest where the
/// hull is a point. A union or hull below the least normal number counts as none: what is divided by it means nothing.
template <bool kDistance, class Real>
ASL_HOST_DEVICE SegmentSlopes<Real> segment_slopes(Real start_a, Real end_a, Real start_b, Real end_b) {
    const Real zero = 0, one = 1;
    const Real raw = smaller_of(end_a, end_b) - larger_of(start_a, start_b);
    const Real intersection = positive_part(raw);
    const Real total = (positive_part(end_a - start_a) + positive_part(end_b - start_b)) - intersection;
    const bool overlap = (raw > zero) & (total >= kLeastNormal<Real>);
    const Real inverse = (overlap ? one : zero) / (overlap ? total : one);
    const Real iou = overlap ? intersection * inverse : zero, more = one + iou;
    // d IoU = ((1 + IoU) d intersection - IoU d length) / union
    SegmentSlopes<Real> slopes;
    slopes.a[0] = (iou - more * max_share(start_a, start_b)) * inverse;
    slopes.a[1] = (more * max_share(end_b, end_a) - iou) * inverse;
    slopes.b[0] = (iou - more * max_share(start_b, start_a)) * inverse;
    slopes.b[1] = (more * max_share(end_a, end_b) - iou) * inverse;
    if constexpr (kDistance) segment_hull_slopes(start_a, end_a, start_b, end_b, slopes);
    return slopes;
}

}  // namespace asl
