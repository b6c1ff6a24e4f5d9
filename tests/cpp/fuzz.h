// SPDX-License-Identifier: Apache-2.0
// Hostile numbers, the same in every run: any bit pattern, special values, values beside or equal to an earlier one.
#pragma once

#include <cmath>
#include <cstdint>
#include <iterator>
#include <limits>
#include <type_traits>

#include "common/elementary.h"
#include "compare.h"

namespace fuzz {

constexpr int kDraws = 100000;  // of each test: together a second under the sanitizers

template <class Real>
class Numbers {
  public:
    explicit Numbers(std::uint64_t seed) : random_(seed) {}

    compare::Random& random() { return random_; }
    bool chance(double share) { return random_.uniform() < share; }

    /// Anything that fits into a Real.
    Real any() {
        using Limits = std::numeric_limits<Real>;
        const Real special[] = {
            Real(0),          Real(-0.0),         Limits::denorm_min(), Limits::min(), Limits::max(),
            Limits::lowest(), Limits::infinity(), -Limits::infinity(),  Real(1),       Limits::quiet_NaN(),
            Real(-1),         Limits::epsilon()};
        if (chance(0.2)) return last_ = special[random_.below(static_cast<std::int64_t>(std::size(special)))];
        if (chance(0.4)) return last_ = bits();
        if (chance(0.3)) return beside();
        return last_ = static_cast<Real>(random_.uniform(-10.0, 10.0));
    }

    /// Finite and at most `bound` in magnitude.
    Real within(Real bound) {
        for (;;) {
            const Real value = any();
            if (std::abs(value) <= bound) return value;
        }
    }

    Real from(Real low, Real high) { return static_cast<Real>(random_.uniform(low, high)); }

  private:
    using Bits = std::conditional_t<sizeof(Real) == 4, std::uint32_t, std::uint64_t>;

    Real bits() {
        const auto high = static_cast<std::uint64_t>(random_.uniform() * 0x1p32);
        const auto low = static_cast<std::uint64_t>(random_.uniform() * 0x1p32);
        return asl::same_bits<Real>(static_cast<Bits>(high << 32 | low));
    }

    Real beside() {
        const Real towards = chance(0.5) ? std::numeric_limits<Real>::infinity() : Real(0);
        if (chance(0.5)) last_ = chance(0.3) ? -last_ : std::nextafter(last_, towards);
        return last_;
    }

    compare::Random random_;
    Real last_ = 0;
};

/// Magnitude whose sums, differences and doubles are still finite.
template <class Real>
constexpr Real kLarge = std::numeric_limits<Real>::max() / 16;

}  // namespace fuzz
