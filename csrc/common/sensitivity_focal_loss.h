// SPDX-License-Identifier: Apache-2.0
// Sigmoid focal loss of one logit and its derivative from one exponential (Lin et al., ICCV 2017, eq. 5).
#pragma once

#include <cmath>

#include "common/elementary.h"
#include "common/host_device.h"

namespace asl {

template <class Real>
struct FocalRule {
    Real positive, negative;  // factors alpha and 1 - alpha; both 1 without alpha
    Real gamma;
};

template <class Real>
ASL_HOST_DEVICE FocalRule<Real> focal_rule(double alpha, double gamma) {
    const bool plain = alpha < 0.0;
    return {static_cast<Real>(plain ? 1.0 : alpha), static_cast<Real>(plain ? 1.0 : 1.0 - alpha),
            static_cast<Real>(gamma)};
}

template <class Real>
struct FocalElement {
    Real loss;
    Real slope;  // d loss / d logit
};

/// alpha_t (1 - p_t)^gamma CE for target t in [0, 1]; `kSquare` says that gamma is 2.
///
/// 1 - p_t is built from sigmoid(x) and sigmoid(-x), which keep their digits where the other saturates. The slope is
/// finite for every gamma >= 0, because p (1 - p) / (1 - p_t) lies in [0, 1] and is formed first.
template <bool kSquare, class Real>
ASL_HOST_DEVICE FocalElement<Real> focal_element(Real x, Real t, const FocalRule<Real>& rule) {
    const Real one = 1, zero = 0;
    const bool below = x < zero;
    const Real e = exp_nonpositive(below ? x : -x);
    const Real log = log1p_unit(e);
    const Real larger = reciprocal(one + e);
    const Real smaller = e * larger;
    const Real p = below ? smaller : larger, q = below ? larger : smaller;
    const Real minus_log_p = log + (below ? -x : zero), minus_log_q = log + (below ? zero : x);

    const Real background = one - t;
    const Real cross_entropy = t * minus_log_p + background * minus_log_q;
    const Real miss = p * background + q * t;
    const Real ratio = share(p * q, miss);  // p q is 0 where miss is
    Real power;
    if constexpr (kSquare)
        power = miss * miss;
    else
        power = std::pow(miss, rule.gamma);
    const Real scale = power * (rule.positive * t + rule.negative * background);
    const Real towards = (p * background - q * t) + rule.gamma * (one - (t + t)) * ratio * cross_entropy;
    return {scale * cross_entropy, scale * towards};
}

}  // namespace asl
