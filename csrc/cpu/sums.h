// SPDX-License-Identifier: Apache-2.0
// Sums whose order depends on the number of items alone: the same bits for any number of threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cpu/parallel.h"
#include "cpu/simd.h"

namespace asl {

constexpr std::int64_t kSumLanes = 16;

struct LaneSum {
    template <class Real>
    static ASL_HOST_DEVICE void run(const Real* __restrict values, std::int64_t count, double* __restrict lanes) {
        double local[kSumLanes] = {};
        std::int64_t i = 0;
        for (; i + kSumLanes <= count; i += kSumLanes)
            for (std::int64_t lane = 0; lane < kSumLanes; ++lane) local[lane] += static_cast<double>(values[i + lane]);
        for (; i < count; ++i) local[i % kSumLanes] += static_cast<double>(values[i]);
        for (std::int64_t lane = 0; lane < kSumLanes; ++lane) lanes[lane] = local[lane];
    }
};

template <class Real>
double lane_sum(const Real* values, std::int64_t count) {
    double lanes[kSumLanes], total = 0.0;
    simd_call<LaneSum>(simd_level(), values, count, static_cast<double*>(lanes));
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

/// Threads for `work` units where less than `enough` per thread is not worth starting one.
///
/// That is half a millisecond: a thread starts in some 20 microseconds on an idle processor, but PyTorch's own threads
/// spin for a while after each of its operations and hold the processors meanwhile.
inline int worthwhile_threads(std::int64_t work, std::int64_t enough, int threads) {
    const int wanted = threads > 0 ? threads : default_threads();
    return static_cast<int>(std::max<std::int64_t>(1, std::min<std::int64_t>(wanted, work / enough)));
}

}  // namespace asl
