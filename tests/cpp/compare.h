// SPDX-License-Identifier: Apache-2.0
// Random numbers that are the same everywhere, and comparison with a double computed another way.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace compare {

/// Uniform in [0, 1), reproducible on every platform.
class Random {
  public:
    explicit Random(std::uint64_t seed) : state_(seed * 2862933555777941757ull + 3037000493ull) {}

    double uniform() {
        state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
        return static_cast<double>(state_ >> 11) * 0x1p-53;
    }

    double uniform(double low, double high) { return low + (high - low) * uniform(); }
    std::int64_t below(std::int64_t count) { return static_cast<std::int64_t>(uniform() * static_cast<double>(count)); }

    template <class Real>
    std::vector<Real> values(std::int64_t count, double low, double high) {
        std::vector<Real> result(static_cast<std::size_t>(count));
        for (Real& value : result) value = static_cast<Real>(uniform(low, high));
        return result;
    }

  private:
    std::uint64_t state_;
};

/// |found - expected| <= relative * |expected| + absolute; two NaN agree.
inline bool close(double found, double expected, double relative, double absolute = 0.0) {
    if (std::isnan(expected) || std::isnan(found)) return std::isnan(expected) && std::isnan(found);
    return std::abs(found - expected) <= relative * std::abs(expected) + absolute;
}

}  // namespace compare
