// SPDX-License-Identifier: Apache-2.0
// IoU and distance IoU of all pairs of segments of the same video, for a batch of unequal videos; forward and backward.
//
// A first launch, of one block, adds up where each video's pairs begin; in the second a thread writes a pair and finds
// its video between those of the block's first and last pair. Backward, the gradient of a is summed by a warp along a
// row of pairs, that of b by kSlices threads down each of kColumns columns; both orders depend on the offsets alone.
// Offsets are not checked on a GPU: rows are clamped to those that exist.
#include <cstdint>

#include "common/segment_iou.h"
#include "cuda/check.h"
#include "cuda/launch.h"
#include "cuda/segment_iou_ragged.h"
#include "cuda/segments.h"
#include "cuda/sums.h"

namespace asl::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32, kItems = 4, kPairs = kThreads * kItems;
constexpr int kColumns = 8, kSlices = kThreads / kColumns;  // 8 neighbours fill a sector of memory

/// One side; video v owns the rows from video_offsets[v] to video_offsets[v + 1].
struct Side {
    Segments segments;
    const std::int64_t* video_offsets;
};

struct Range {
    std::int64_t first, count;
};

/// Rows of a video, of those that are there.
__device__ Range rows_of(const Side& side, std::int64_t video) {
    const auto clamped = [&](std::int64_t value, std::int64_t low) {
        return value < low ? low : (value > side.segments.count ? side.segments.count : value);
    };
    const std::int64_t first = clamped(side.video_offsets[video], 0);
    return {first, clamped(side.video_offsets[video + 1], first) - first};
}

/// The last of the `count` rising offsets from `at` on that is not above `target`, else `at`.
__device__ std::int64_t last_not_above(const std::int64_t* offsets, std::int64_t target, std::int64_t at,
                                       std::int64_t count) {
    while (count > 1) {
        const std::int64_t half = count / 2;
        if (offsets[at + half] <= target) at += half;
        count -= half;
    }
    return at;
}

/// pair_offsets (videos + 1,): sums of n * m over the videos before, by one block.
__global__ void __launch_bounds__(kThreads)
    add_up_pairs(Side a, Side b, std::int64_t videos, std::int64_t* pair_offsets) {
    __shared__ std::int64_t of_warps[kWarps];
    const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
    std::int64_t before = 0;
    if (threadIdx.x == 0) pair_offsets[0] = 0;
    for (std::int64_t first = 0; first < videos; first += kThreads) {
        const std::int64_t video = first + threadIdx.x;
        std::int64_t sum = video < videos ? rows_of(a, video).count * rows_of(b, video).count : 0;
        for (int distance = 1; distance < 32; distance *= 2) {
            const std::int64_t below = __shfl_up_sync(~0u, sum, distance);
            if (lane >= distance) sum += below;
        }
        if (lane == 31) of_warps[warp] = sum;
        __syncthreads();
        std::int64_t all = 0;
        for (int i = 0; i < kWarps; ++i) {
            if (i == warp) sum += all;
            all += of_warps[i];
        }
        if (video < videos) pair_offsets[video + 1] = before + sum;
        before += all;
        __syncthreads();  // the sums of the warps have been read
    }
}

template <bool kDistance, class Real>
__global__ void __launch_bounds__(kThreads)
    ragged_forward(Side a, Side b, std::int64_t videos, const std::int64_t* pair_offsets, std::int64_t max_pairs,
                   Real* values) {
    __shared__ std::int64_t ends[2];  // videos of the first and the last pair
    const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * kPairs, total = pair_offsets[videos];
    if (threadIdx.x < 2)
        ends[threadIdx.x] = last_not_above(pair_offsets, begin + threadIdx.x * (kPairs - 1), 0, videos);
    __syncthreads();
    for (std::int64_t pair = begin + threadIdx.x; pair < begin + kPairs && pair < max_pairs; pair += kThreads) {
        Real value = 0;
        if (pair < total) {
            const std::int64_t video = last_not_above(pair_offsets, pair, ends[0], ends[1] - ends[0] + 1);
            const Range rows = rows_of(a, video), columns = rows_of(b, video);
            const std::int64_t local = pair - pair_offsets[video];
            const Pair<Real> x = segment<Real>(a.segments, rows.first + local / columns.count);
            const Pair<Real> y = segment<Real>(b.segments, columns.first + local % columns.count);
            value = asl::segment_iou<kDistance>(x.first, x.second, y.first, y.second);
        }
        values[pair] = value;
    }
}

/// The pairs of one segment: with `others` of the other side, in places `pair`, `pair` + `step` and so on.
struct Line {
    Range others;
    std::int64_t pair, step;
};

/// Of segment `at` of `mine`: a row of its video's matrix, or else a column.
__device__ Line line_of(const Side& mine, const Side& other, std::int64_t videos, const std::int64_t* pair_offsets,
                        std::int64_t at, bool row) {
    if (videos == 0) return {};
    const std::int64_t video = last_not_above(mine.video_offsets, at, 0, videos);
    const Range own = rows_of(mine, video), others = rows_of(other, video);
    const std::int64_t place = at - own.first;
    if (place < 0 || place >= own.count) return {};
    if (row) return {others, pair_offsets[video] + place * others.count, 1};
    return {others, pair_offsets[video] + place, own.count};
}

/// Adds the share of pair `i` of the line of `mine` to its gradient.
template <bool kDistance, class Real>
__device__ void add_pair(const Line& line, std::int64_t i, const Pair<Real>& mine, const Segments& others,
                         const Source& grad, std::int64_t max_pairs, Pair<Real>& sum) {
    const std::int64_t pair = line.pair + i * line.step;
    if (pair < 0 || pair >= max_pairs) return;
    const Pair<Real> other = segment<Real>(others, line.others.first + i);
    const SegmentSlopes<Real> slopes = segment_slopes<kDistance>(mine.first, mine.second, other.first, other.second);
    const Real factor = load<Real>(grad, pair);
    sum.first += factor * slopes.a[0];
    sum.second += factor * slopes.a[1];
}

/// Gradient of a: a warp a segment.
template <bool kDistance, class Real>
__global__ void __launch_bounds__(kThreads)
    ragged_backward_a(Source grad, Side a, Side b, std::int64_t videos, const std::int64_t* pair_offsets,
                      std::int64_t max_pairs, Sink grad_a) {
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
    if (row >= a.segments.count) return;  // the whole warp
    const Line line = line_of(a, b, videos, pair_offsets, row, true);
    const Pair<Real> mine = segment<Real>(a.segments, row);
    Pair<Real> sum{0, 0};
    for (std::int64_t i = threadIdx.x % 32; i < line.others.count; i += 32)
        add_pair<kDistance>(line, i, mine, b.segments, grad, max_pairs, sum);
    sum = {warp_sum(sum.first), warp_sum(sum.second)};
    if (threadIdx.x % 32 != 0) return;
    store(grad_a, 2 * row, sum.first);
    store(grad_a, 2 * row + 1, sum.second);
}

/// Gradient of b: each thread sums every kSlices-th row of a column, and a column's threads add up in their order.
template <bool kDistance, class Real>
__global__ void __launch_bounds__(kThreads)
    ragged_backward_b(Source grad, Side a, Side b, std::int64_t videos, const std::int64_t* pair_offsets,
                      std::int64_t max_pairs, Sink grad_b) {
    __shared__ Pair<Real> sums[kSlices][kColumns];
    const int place = static_cast<int>(threadIdx.x % kColumns), slice = static_cast<int>(threadIdx.x / kColumns);
    const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * kColumns + place;
    const bool there = column < b.segments.count;
    Pair<Real> sum{0, 0};
    if (there) {
        const Line line = line_of(b, a, videos, pair_offsets, column, false);
        const Pair<Real> mine = segment<Real>(b.segments, column);
        for (std::int64_t i = slice; i < line.others.count; i += kSlices)
            add_pair<kDistance>(line, i, mine, a.segments, grad, max_pairs, sum);
    }
    sums[slice][place] = sum;
    __syncthreads();
    if (slice != 0 || !there) return;
    for (int i = 1; i < kSlices; ++i) {
        sum.first += sums[i][place].first;
        sum.second += sums[i][place].second;
    }
    store(grad_b, 2 * column, sum.first);
    store(grad_b, 2 * column + 1, sum.second);
}

template <bool kDistance, class Real>
void forward(const Side& a, const Side& b, std::int64_t videos, const std::int64_t* pair_offsets,
             std::int64_t max_pairs, View values, cudaStream_t stream) {
    launch(ragged_forward<kDistance, Real>, grid_of(max_pairs, kPairs), kThreads, 0, stream, a, b, videos, pair_offsets,
           max_pairs, reinterpret_cast<Real*>(values.address));
}

template <bool kDistance, class Real>
void backward(const Source& grad, const Side& a, const Side& b, std::int64_t videos, const std::int64_t* pair_offsets,
              std::int64_t max_pairs, const Sink& grad_a, const Sink& grad_b, cudaStream_t stream) {
    if (a.segments.count > 0)
        launch(ragged_backward_a<kDistance, Real>, grid_of(a.segments.count, kWarps), kThreads, 0, stream, grad, a, b,
               videos, pair_offsets, max_pairs, grad_a);
    if (b.segments.count > 0)
        launch(ragged_backward_b<kDistance, Real>, grid_of(b.segments.count, kColumns), kThreads, 0, stream, grad, a, b,
               videos, pair_offsets, max_pairs, grad_b);
}

Side side_of(View view, std::int64_t count, std::uintptr_t video_offsets) {
    return {segments_of(view, count), reinterpret_cast<const std::int64_t*>(video_offsets)};
}

Side side_a(const RaggedPairs& pairs) { return side_of(pairs.a, pairs.n, pairs.a_video_offsets); }

Side side_b(const RaggedPairs& pairs) { return side_of(pairs.b, pairs.m, pairs.b_video_offsets); }

}  // namespace

void segment_iou_ragged(const RaggedPairs& pairs, View values, std::uintptr_t pair_offsets, std::uintptr_t stream) {
    const Side a = side_a(pairs), b = side_b(pairs);
    auto* const begins = reinterpret_cast<std::int64_t*>(pair_offsets);
    launch(add_up_pairs, 1, kThreads, 0, as_stream(stream), a, b, pairs.videos, begins);
    check_launch("segment_iou_ragged (offsets)");
    if (pairs.max_pairs == 0) return;
    const bool wide = static_cast<Dtype>(values.dtype) == Dtype::kFloat64;
    const auto chosen = pairs.distance ? (wide ? forward<true, double> : forward<true, float>)
                                       : (wide ? forward<false, double> : forward<false, float>);
    chosen(a, b, pairs.videos, begins, pairs.max_pairs, values, as_stream(stream));
    check_launch("segment_iou_ragged");
}

void segment_iou_ragged_backward(const RaggedPairs& pairs, View grad, std::uintptr_t pair_offsets, bool is_double,
                                 View grad_a, View grad_b, std::uintptr_t stream) {
    const auto chosen = pairs.distance ? (is_double ? backward<true, double> : backward<true, float>)
                                       : (is_double ? backward<false, double> : backward<false, float>);
    chosen(Source(grad), side_a(pairs), side_b(pairs), pairs.videos,
           reinterpret_cast<const std::int64_t*>(pair_offsets), pairs.max_pairs, Sink(grad_a), Sink(grad_b),
           as_stream(stream));
    check_launch("segment_iou_ragged_backward");
}

}  // namespace asl::cuda
