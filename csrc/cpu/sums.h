// SPDX-License-Identifier: Apache-2.0
// Sums whose order depends on the number of items alone: the same bits for any number of threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cpu/parallel.h"

namespace asl {

template <class Real>
double lane_sum(const Real* values, std::int64_t count) {
    constexpr std::int64_t kLanes = 8;
    double lanes[kLanes] = {};
    std::int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes)
        for (std::int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += static_cast<double>(values[i + lane]);
    for (; i < count; ++i) lanes[i % kLanes] += static_cast<double>(values[i]);
    double total = 0.0;
    for (const double lane : lanes) total += lane;
    return total;
}

/// Adds up body(begin, end) over chunks of `grain` items, see parallel_for.
template <class Body>
double parallel_sum(std::int64_t count, std::int64_t grain, int threads, const Body& body) {
    if (count <= 0) return 0.0;
    std::vector<double> sums(static_cast<std::size_t>((count - 1) / grain + 1));
    parallel_for(count, grain, threads, [&](std::int64_t begin, std::int64_t end) {
        sums[static_cast<std::size_t>(begin / grain)] = body(begin, end);
    });
    double total = 0.0;
    for (const double sum : sums) total += sum;
    return total;
}

/// Threads for `work` units where less than `enough` per thread is not worth starting one (some 20 microseconds).
inline int worthwhile_threads(std::int64_t work, std::int64_t enough, int threads) {
    const int wanted = threads > 0 ? threads : default_threads();
    return static_cast<int>(std::max<std::int64_t>(1, std::min<std::int64_t>(wanted, work / enough)));
}

}  // namespace asl
