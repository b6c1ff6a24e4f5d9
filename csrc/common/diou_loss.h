// SPDX-License-Identifier: Apache-2.0
// Distance-IoU loss of two segments [-o0, o1] around a common point, and its derivatives (Zheng et al., AAAI 2020).
#pragma once

#include "common/host_device.h"

namespace asl {

template <class Real>
struct DiouRow {
    Real loss;
    Real pred[2], target[2];  // d loss / d offsets
};

/// 1 - IoU + (centre distance / union)²; the common point makes the union the hull as well.
///
/// At a tie each side has half of the slope; two segments without length have slope 0. Terms are in the order of
/// reference/diou_loss.py, so that what overflows or is no number comes out as there.
template <class Real>
ASL_HOST_DEVICE DiouRow<Real> diou_row(Real p0, Real p1, Real t0, Real t1, Real eps) {
    const Real zero = 0, half = Real(0.5), one = 1;
    const Real intersection = (p0 < t0 ? p0 : t0) + (p1 < t1 ? p1 : t1);
    const Real raw = (p0 > t0 ? p0 : t0) + (p1 > t1 ? p1 : t1);
    const Real total = raw < eps ? eps : raw;
    const Real divisor = total == zero ? one : total;
    const Real iou = intersection / divisor;
    const Real inverse = one / divisor;
    const Real ratio = half * ((p1 - t1) - (p0 - t0)) / divisor;

    // Moving a boundary grows either the intersection or the union; `inside` is the share of the intersection.
    const Real inside0 = p0 == t0 ? half : (p0 < t0 ? one : zero), inside1 = p1 == t1 ? half : (p1 < t1 ? one : zero);
    const Real open = raw >= eps ? one : zero;            // the union is above its lower bound
    const bool empty = (raw == zero) & (ratio == ratio);  // a NaN is in the ratio, and not always in the maxima
    const Real turned = ratio + ratio;
    // `away` is how the centre moves with the boundary. What is 0 stays 0 where the inverse is infinite.
    const auto slope = [=](Real inside, Real outside, Real away) {
        const Real rise = outside * iou - inside + turned * (away - ratio * outside);
        return empty | (rise == zero) ? zero : rise * inverse;
    };
    DiouRow<Real> row;
    row.loss = (one - iou) + ratio * ratio;
    row.pred[0] = slope(inside0, (one - inside0) * open, -half);
    row.pred[1] = slope(inside1, (one - inside1) * open, half);
    // Seen from the target the centres are apart the other way, so that `away` changes its sign and `turned` as well.
    row.target[0] = slope(one - inside0, inside0 * open, half);
    row.target[1] = slope(one - inside1, inside1 * open, -half);
    return row;
}

}  // namespace asl
