// SPDX-License-Identifier: Apache-2.0
// IoU and distance IoU of many pairs of segments, and the gradients: all pairs of each batch, or row by row.
//
// The segments of b lie in two plain arrays, so that a segment of a meets them in vector instructions. The gradient of
// b gathers over the rows of a in a number of partial sums that depends on the sizes alone, added up in their order.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/segment_iou.h"
#include "cpu/simd.h"
#include "cpu/sums.h"

namespace asl {

template <class Real>
struct SegmentPairs {
    const Real *a, *b;  // (batch, n, 2), (batch, m, 2); aligned: (batch * n, 2) both, m is 1
    std::int64_t batch, n, m;
};

template <bool kDistance, class Real>
struct IouRow {
    static ASL_HOST_DEVICE void run(Real start, Real end, const Real* __restrict starts, const Real* __restrict ends,
                                    std::int64_t count, Real* __restrict out) {
        for (std::int64_t j = 0; j < count; ++j) out[j] = segment_iou<kDistance>(start, end, starts[j], ends[j]);
    }
};

template <bool kDistance, class Real>
struct IouAligned {
    static ASL_HOST_DEVICE void run(const Real* __restrict a, const Real* __restrict b, std::int64_t count,
                                    Real* __restrict out) {
        for (std::int64_t i = 0; i < count; ++i)
            out[i] = segment_iou<kDistance>(a[2 * i], a[2 * i + 1], b[2 * i], b[2 * i + 1]);
    }
};

/// Gradients of one row of pairs: of the segment of a pair by pair, of the segments of b added to what is there.
template <bool kDistance, class Real>
struct IouRowBackward {
    static ASL_HOST_DEVICE void run(const Real* __restrict grad, Real start, Real end, const Real* __restrict starts,
                                    const Real* __restrict ends, std::int64_t count, Real* __restrict by_start,
                                    Real* __restrict by_end, Real* __restrict by_starts, Real* __restrict by_ends) {
        for (std::int64_t j = 0; j < count; ++j) {
            const SegmentSlopes<Real> slopes = segment_slopes<kDistance>(start, end, starts[j], ends[j]);
            by_start[j] = grad[j] * slopes.a[0];
            by_end[j] = grad[j] * slopes.a[1];
            by_starts[j] += grad[j] * slopes.b[0];
            by_ends[j] += grad[j] * slopes.b[1];
        }
    }
};

template <bool kDistance, class Real>
struct IouAlignedBackward {
    static ASL_HOST_DEVICE void run(const Real* __restrict grad, const Real* __restrict a, const Real* __restrict b,
                                    std::int64_t count, Real* __restrict grad_a, Real* __restrict grad_b) {
        for (std::int64_t i = 0; i < count; ++i) {
            const SegmentSlopes<Real> slopes =
                segment_slopes<kDistance>(a[2 * i], a[2 * i + 1], b[2 * i], b[2 * i + 1]);
            grad_a[2 * i] = grad[i] * slopes.a[0];
            grad_a[2 * i + 1] = grad[i] * slopes.a[1];
            grad_b[2 * i] = grad[i] * slopes.b[0];
            grad_b[2 * i + 1] = grad[i] * slopes.b[1];
        }
    }
};

/// Starts and ends of (count, 2) segments in two arrays.
template <class Real>
class Boundaries {
  public:
    Boundaries(const Real* segments, std::int64_t count)
        : starts(static_cast<std::size_t>(count)), ends(static_cast<std::size_t>(count)) {
        for (std::size_t i = 0; i < starts.size(); ++i) {
            starts[i] = segments[2 * i];
            ends[i] = segments[2 * i + 1];
        }
    }

    std::vector<Real> starts, ends;
};

/// All pairs of `rows` segments of a with `m` of b; out: (rows, m).
template <bool kDistance, class Real>
void iou_rows(const Real* a, std::int64_t rows, const Real* starts, const Real* ends, std::int64_t m, Real* out) {
    for (std::int64_t row = 0; row < rows; ++row)
        simd_call<IouRow<kDistance, Real>>(simd_level(), a[2 * row], a[2 * row + 1], starts, ends, m, out + row * m);
}

/// Their gradients: grad (rows, m), grad_a (rows, 2) written, of_b (2, m) added to; scratch (2, m).
template <bool kDistance, class Real>
void iou_rows_backward(const Real* grad, const Real* a, std::int64_t rows, const Real* starts, const Real* ends,
                       std::int64_t m, Real* grad_a, Real* of_b, Real* scratch) {
    for (std::int64_t row = 0; row < rows; ++row) {
        simd_call<IouRowBackward<kDistance, Real>>(simd_level(), grad + row * m, a[2 * row], a[2 * row + 1], starts,
                                                   ends, m, scratch, scratch + m, of_b, of_b + m);
        grad_a[2 * row] = static_cast<Real>(lane_sum(scratch, m));
        grad_a[2 * row + 1] = static_cast<Real>(lane_sum(scratch + m, m));
    }
}

/// grad_b (m, 2) from what `parts` calls of iou_rows_backward left in of_b (parts, 2, m), in their order.
template <class Real>
void add_up_parts(const Real* of_b, std::int64_t parts, std::int64_t m, Real* grad_b) {
    for (std::int64_t k = 0; k < 2 * m; ++k) {
        double sum = 0.0;
        for (std::int64_t part = 0; part < parts; ++part) sum += static_cast<double>(of_b[part * 2 * m + k]);
        grad_b[2 * (k % m) + k / m] = static_cast<Real>(sum);
    }
}

constexpr std::int64_t kPairsPerChunk = 32768, kPairsWorthAThread = 500000, kMostParts = 16;

/// Parts into which the rows of n x m pairs are split: it depends on the sizes alone.
inline std::int64_t parts_of(std::int64_t n, std::int64_t m) {
    return std::min(kMostParts, std::max<std::int64_t>(1, std::min(n, n * m / kPairsPerChunk)));
}

template <bool kDistance, class Real>
class SegmentIou {
  public:
    SegmentIou(const SegmentPairs<Real>& pairs, bool aligned, int threads) : in_(pairs), aligned_(aligned) {
        threads_ = worthwhile_threads(in_.batch * in_.n * in_.m, kPairsWorthAThread, threads);
    }

    /// out: (batch, n, m), or (batch, n) if aligned.
    void forward(Real* out) const {
        if (aligned_) {
            parallel_for(in_.batch * in_.n, kPairsPerChunk, threads_, [&](std::int64_t begin, std::int64_t end) {
                simd_call<IouAligned<kDistance, Real>>(simd_level(), in_.a + 2 * begin, in_.b + 2 * begin, end - begin,
                                                       out + begin);
            });
            return;
        }
        const Boundaries<Real> b(in_.b, in_.batch * in_.m);
        const std::int64_t grain = kPairsPerChunk / std::max<std::int64_t>(1, in_.m);
        parallel_for(in_.batch * in_.n, grain, threads_, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t row = begin; row < end; ++row) {
                const std::int64_t first = row / in_.n * in_.m;
                iou_rows<kDistance>(in_.a + 2 * row, 1, b.starts.data() + first, b.ends.data() + first, in_.m,
                                    out + row * in_.m);
            }
        });
    }

    /// grad as the output of forward; grad_a and grad_b as a and b, written whole.
    void backward(const Real* grad, Real* grad_a, Real* grad_b) const {
        if (aligned_) {
            parallel_for(in_.batch * in_.n, kPairsPerChunk, threads_, [&](std::int64_t begin, std::int64_t end) {
                simd_call<IouAlignedBackward<kDistance, Real>>(simd_level(), grad + begin, in_.a + 2 * begin,
                                                               in_.b + 2 * begin, end - begin, grad_a + 2 * begin,
                                                               grad_b + 2 * begin);
            });
            return;
        }
        const Boundaries<Real> b(in_.b, in_.batch * in_.m);
        const std::int64_t parts = parts_of(in_.n, in_.m), m = in_.m;
        std::vector<Real> partial(static_cast<std::size_t>(in_.batch * parts * 2 * m));
        parallel_for(in_.batch * parts, 1, threads_, [&](std::int64_t begin, std::int64_t end) {
            std::vector<Real> scratch(static_cast<std::size_t>(2 * m));
            for (std::int64_t item = begin; item < end; ++item) {
                const std::int64_t batch = item / parts, part = item % parts;
                const std::int64_t first = in_.n * part / parts, last = in_.n * (part + 1) / parts;
                const std::int64_t row = batch * in_.n + first;
                iou_rows_backward<kDistance>(grad + row * m, in_.a + 2 * row, last - first, b.starts.data() + batch * m,
                                             b.ends.data() + batch * m, m, grad_a + 2 * row,
                                             partial.data() + item * 2 * m, scratch.data());
            }
        });
        for (std::int64_t batch = 0; batch < in_.batch; ++batch)
            add_up_parts(partial.data() + batch * parts * 2 * m, parts, m, grad_b + batch * 2 * m);
    }

  private:
    const SegmentPairs<Real> in_;
    const bool aligned_;
    int threads_;
};

}  // namespace asl
