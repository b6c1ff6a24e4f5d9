// SPDX-License-Identifier: Apache-2.0
// IoU and distance IoU of segments, all pairs or row by row, with leading batch dimensions; forward and backward.
//
// Forward, a thread keeps a segment of b and meets the kRows segments of a that lie in shared memory: neighbouring
// threads write neighbouring pairs. Backward, the gradient of a is summed by a warp along a row of pairs, that of b by
// kSlices warps down 32 columns; both orders depend on the sizes alone, and the slopes are never stored.
#include "common/segment_iou.h"

#include "cuda/launch.h"
#include "cuda/segment_iou.h"
#include "cuda/segments.h"
#include "cuda/sums.h"

namespace asl::cuda {
namespace {

constexpr int kThreads = 256, kRows = 16, kWarps = kThreads / 32, kSlices = kWarps;

/// One side; `batch` is the number of segments from one batch entry to the next, 0 where all share them.
struct Side : Segments {
    std::int64_t batch;
};

template <class Real>
__device__ Pair<Real> segment(const Side& side, std::int64_t batch, std::int64_t at) {
    return segment<Real>(side, batch * side.batch + at);
}

template <bool kDistance, class Real>
__global__ void __launch_bounds__(kThreads) pairs_forward(Side a, Side b, Real* out) {
    __shared__ Pair<Real> rows[kRows];
    const std::int64_t tiles_n = (a.count + kRows - 1) / kRows, tiles_m = (b.count + kThreads - 1) / kThreads;
    const std::int64_t tile = blockIdx.x / tiles_m, batch = tile / tiles_n, first = tile % tiles_n * kRows;
    const std::int64_t column = blockIdx.x % tiles_m * kThreads + threadIdx.x;
    const std::int64_t left = a.count - first;
    const int count = left < kRows ? static_cast<int>(left) : kRows, me = static_cast<int>(threadIdx.x);
    if (me < count) rows[me] = segment<Real>(a, batch, first + me);
    __syncthreads();
    if (column >= b.count) return;
    const Pair<Real> mine = segment<Real>(b, batch, column);
    Real* at = out + (batch * a.count + first) * b.count + column;
    for (int i = 0; i < count; ++i)
        at[i * b.count] = asl::segment_iou<kDistance>(rows[i].first, rows[i].second, mine.first, mine.second);
}

template <bool kDistance, class Real>
__global__ void __launch_bounds__(kThreads) rows_forward(Side a, Side b, Real* out) {
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (row >= a.count) return;
    const Pair<Real> x = segment<Real>(a, 0, row), y = segment<Real>(b, 0, row);
    out[row] = asl::segment_iou<kDistance>(x.first, x.second, y.first, y.second);
}

template <bool kDistance, class Real>
__global__ void __launch_bounds__(kThreads) rows_backward(Source grad, Side a, Side b, Sink grad_a, Sink grad_b) {
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (row >= a.count) return;
    const Pair<Real> x = segment<Real>(a, 0, row), y = segment<Real>(b, 0, row);
    const SegmentSlopes<Real> slopes = segment_slopes<kDistance>(x.first, x.second, y.first, y.second);
    const Real factor = load<Real>(grad, row);
    store_pair(grad_a, row, factor * slopes.a[0], factor * slopes.a[1]);
    store_pair(grad_b, row, factor * slopes.b[0], factor * slopes.b[1]);
}

/// Gradient of a: a warp a segment.
template <bool kDistance, class Real>
__global__ void __launch_bounds__(kThreads)
    pairs_backward_a(Source grad, Side a, Side b, Sink grad_a, std::int64_t rows) {
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
    if (row >= rows) return;  // the whole warp
    const std::int64_t batch = row / a.count;
    const Pair<Real> mine = segment<Real>(a, batch, row % a.count);
    Real start = 0, end = 0;
    for (std::int64_t m = threadIdx.x % 32; m < b.count; m += 32) {
        const Pair<Real> other = segment<Real>(b, batch, m);
        const SegmentSlopes<Real> slopes =
            segment_slopes<kDistance>(mine.first, mine.second, other.first, other.second);
        const Real factor = load<Real>(grad, row * b.count + m);
        start += factor * slopes.a[0];
        end += factor * slopes.a[1];
    }
    start = warp_sum(start);
    end = warp_sum(end);
    if (threadIdx.x % 32 == 0) store_pair(grad_a, row, start, end);
}

/// Gradient of b: a lane a segment; each warp sums every kSlices-th row, and the warps add up in their order.
template <bool kDistance, class Real>
__global__ void __launch_bounds__(kThreads) pairs_backward_b(Source grad, Side a, Side b, Sink grad_b) {
    __shared__ Pair<Real> sums[kSlices][32];
    const std::int64_t tiles = (b.count + 31) / 32, batch = blockIdx.x / tiles;
    const int lane = static_cast<int>(threadIdx.x % 32), slice = static_cast<int>(threadIdx.x / 32);
    const std::int64_t column = blockIdx.x % tiles * 32 + lane;
    const bool there = column < b.count;
    Pair<Real> sum{0, 0};
    if (there) {
        const Pair<Real> mine = segment<Real>(b, batch, column);
        for (std::int64_t n = slice; n < a.count; n += kSlices) {
            const Pair<Real> other = segment<Real>(a, batch, n);
            const SegmentSlopes<Real> slopes =
                segment_slopes<kDistance>(other.first, other.second, mine.first, mine.second);
            const Real factor = load<Real>(grad, (batch * a.count + n) * b.count + column);
            sum.first += factor * slopes.b[0];
            sum.second += factor * slopes.b[1];
        }
    }
    sums[slice][lane] = sum;
    __syncthreads();
    if (slice != 0 || !there) return;
    for (int i = 1; i < kSlices; ++i) {
        sum.first += sums[i][lane].first;
        sum.second += sums[i][lane].second;
    }
    store_pair(grad_b, batch * b.count + column, sum.first, sum.second);
}

template <bool kDistance, class Real>
void forward(const Side& a, const Side& b, std::int64_t batch, bool aligned, View out, cudaStream_t stream) {
    auto* to = reinterpret_cast<Real*>(out.address);
    if (aligned)
        return launch(rows_forward<kDistance, Real>, grid_of(a.count, kThreads), kThreads, 0, stream, a, b, to);
    const std::int64_t tiles = ((a.count + kRows - 1) / kRows) * ((b.count + kThreads - 1) / kThreads);
    launch(pairs_forward<kDistance, Real>, grid_of(batch * tiles, 1), kThreads, 0, stream, a, b, to);
}

template <bool kDistance, class Real>
void backward(const Source& grad, const Side& a, const Side& b, std::int64_t batch, bool aligned, const Sink& grad_a,
              const Sink& grad_b, cudaStream_t stream) {
    if (aligned)
        return launch(rows_backward<kDistance, Real>, grid_of(a.count, kThreads), kThreads, 0, stream, grad, a, b,
                      grad_a, grad_b);
    const std::int64_t rows = batch * a.count, columns = batch * ((b.count + 31) / 32);
    if (rows > 0)
        launch(pairs_backward_a<kDistance, Real>, grid_of(rows, kWarps), kThreads, 0, stream, grad, a, b, grad_a, rows);
    if (columns > 0)
        launch(pairs_backward_b<kDistance, Real>, grid_of(columns, 1), kThreads, 0, stream, grad, a, b, grad_b);
}

Side side_a(const SegmentPairs& pairs) { return {segments_of(pairs.a, pairs.n), pairs.a_batch}; }

Side side_b(const SegmentPairs& pairs) { return {segments_of(pairs.b, pairs.m), pairs.b_batch}; }

}  // namespace

void segment_iou(const SegmentPairs& pairs, View out, std::uintptr_t stream) {
    const bool wide = static_cast<Dtype>(out.dtype) == Dtype::kFloat64;
    const auto chosen = pairs.distance ? (wide ? forward<true, double> : forward<true, float>)
                                       : (wide ? forward<false, double> : forward<false, float>);
    chosen(side_a(pairs), side_b(pairs), pairs.batch, pairs.aligned, out, as_stream(stream));
    check_launch("segment_iou");
}

void segment_iou_backward(const SegmentPairs& pairs, View grad, bool is_double, View grad_a, View grad_b,
                          std::uintptr_t stream) {
    const auto chosen = pairs.distance ? (is_double ? backward<true, double> : backward<true, float>)
                                       : (is_double ? backward<false, double> : backward<false, float>);
    chosen(Source(grad), side_a(pairs), side_b(pairs), pairs.batch, pairs.aligned, Sink(grad_a), Sink(grad_b),
           as_stream(stream));
    check_launch("segment_iou_backward");
}

}  // namespace asl::cuda
