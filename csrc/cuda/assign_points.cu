// SPDX-License-Identifier: Apache-2.0
// Assignment of the points of a pyramid to the segments of many videos, the whole ragged batch in one launch.
//
// A block owns kThreads points of one video, a thread one of them. The video's segments pass through shared memory in
// tiles, so that each is read once per block. A first walk finds the shortest that claims the point; a second writes
// the classes of all that tie with it, over zeros that the same block wrote before, and only where a point of the block
// is claimed at all. Every operation rounds as in asl_fast/reference/assign_points.py: the same bits.
#include <cstdint>
#include <limits>

#include "common/assign_points.h"
#include "cuda/assign_points.h"
#include "cuda/check.h"
#include "cuda/elements.h"
#include "cuda/launch.h"

namespace asl::cuda {
namespace {

constexpr int kThreads = 128;  // points of a block, and segments of a tile

template <class Real>
constexpr Real kUnclaimed = std::numeric_limits<Real>::infinity();

template <class Real>
struct Videos {
    Source points, segments;            // (P, 4), (G, 2)
    const std::int64_t* labels;         // (G,)
    const std::int64_t* video_offsets;  // (videos + 1,)
    std::int64_t num_points, classes;
    Real* class_targets;     // (videos, points, classes)
    Real* offsets;           // (videos, points, 2)
    std::int64_t* instance;  // (videos, points)
    Real* distance;          // (videos, points)
};

/// Length of the segment where it claims the point, infinity elsewhere.
template <class Real>
__device__ Real claimed_length(const GridPoint<Real>& point, Real start, Real end, const ClaimRule<Real>& rule) {
    const ClaimWindow<Real> window = claim_window(start, end, point.stride, rule);
    const bool inside = point.time > window.from && point.time < window.to;
    return inside && in_regression_range(point, start, end) ? end - start : kUnclaimed<Real>;
}

template <class Real>
__global__ void assign_points_kernel(Videos<Real> at, ClaimRule<Real> rule) {
    __shared__ Real starts[kThreads], ends[kThreads];
    const auto blocks = static_cast<unsigned>((at.num_points + kThreads - 1) / kThreads);
    const std::int64_t video = blockIdx.x / blocks;
    const std::int64_t first_point = static_cast<std::int64_t>(blockIdx.x % blocks) * kThreads;
    const std::int64_t index = first_point + threadIdx.x, out = video * at.num_points + index;
    const bool there = index < at.num_points;
    const std::int64_t first = at.video_offsets[video], last = at.video_offsets[video + 1];
    const auto me = static_cast<int>(threadIdx.x);

    const std::int64_t rest = at.num_points - first_point;
    const std::int64_t zeros = (rest < kThreads ? rest : kThreads) * at.classes;
    Real* block_classes = at.class_targets + (video * at.num_points + first_point) * at.classes;
    for (std::int64_t i = me; i < zeros; i += kThreads) block_classes[i] = Real(0);

    const auto stage = [&](std::int64_t tile) {
        __syncthreads();  // the tile before has been read
        if (tile + me < last) {
            starts[me] = load<Real>(at.segments, 2 * (tile + me));
            ends[me] = load<Real>(at.segments, 2 * (tile + me) + 1);
        }
        __syncthreads();
        return static_cast<int>(last - tile < kThreads ? last - tile : kThreads);
    };

    GridPoint<Real> point{};
    if (there)
        point = {load<Real>(at.points, 4 * index), load<Real>(at.points, 4 * index + 1),
                 load<Real>(at.points, 4 * index + 2), load<Real>(at.points, 4 * index + 3)};
    Real shortest = kUnclaimed<Real>;
    std::int64_t chosen = -1;
    for (std::int64_t tile = first; tile < last; tile += kThreads) {
        const int count = stage(tile);
        for (int i = 0; there && i < count; ++i) {
            const Real length = claimed_length(point, starts[i], ends[i], rule);
            if (length < shortest) {  // the first of equal ones stays
                shortest = length;
                chosen = tile + i;
            }
        }
    }
    const bool positive = chosen >= 0;
    if (there) {
        PointTarget<Real> target{};
        if (positive)
            target = point_target(point, load<Real>(at.segments, 2 * chosen), load<Real>(at.segments, 2 * chosen + 1));
        at.instance[out] = chosen;
        at.offsets[2 * out] = target.left;
        at.offsets[2 * out + 1] = target.right;
        at.distance[out] = target.distance;
    }

    if (!__syncthreads_or(positive)) return;  // also the barrier between the zeros and the ones
    const Real limit = shortest + rule.tie_tolerance;
    for (std::int64_t tile = first; tile < last; tile += kThreads) {
        // A single tile is still there from the first walk.
        const int count = last - first > kThreads ? stage(tile) : static_cast<int>(last - first);
        for (int i = 0; positive && i < count; ++i) {
            const Real length = claimed_length(point, starts[i], ends[i], rule);
            if (!(length < kUnclaimed<Real> && length <= limit)) continue;
            const std::int64_t label = at.labels[tile + i];
            const bool known = label >= 0 && label < at.classes;  // labels are not checked on a GPU
            if (known) at.class_targets[out * at.classes + label] = Real(1);
        }
    }
}

}  // namespace

void assign_points(View points, View segments, std::uintptr_t labels, std::uintptr_t video_offsets,
                   std::int64_t num_points, std::int64_t videos, std::int64_t classes, double radius,
                   double tie_tolerance, bool is_double, std::uintptr_t class_targets, std::uintptr_t offsets,
                   std::uintptr_t instance, std::uintptr_t distance, std::uintptr_t stream) {
    const auto run = [&](auto zero) {
        using Real = decltype(zero);
        const Videos<Real> at{points,
                              segments,
                              reinterpret_cast<const std::int64_t*>(labels),
                              reinterpret_cast<const std::int64_t*>(video_offsets),
                              num_points,
                              classes,
                              reinterpret_cast<Real*>(class_targets),
                              reinterpret_cast<Real*>(offsets),
                              reinterpret_cast<std::int64_t*>(instance),
                              reinterpret_cast<Real*>(distance)};
        const ClaimRule<Real> rule{static_cast<Real>(radius), radius <= 0.0, static_cast<Real>(tie_tolerance)};
        const auto blocks = static_cast<unsigned>((num_points + kThreads - 1) / kThreads * videos);
        launch(assign_points_kernel<Real>, blocks, kThreads, 0, as_stream(stream), at, rule);
    };
    if (is_double)
        run(0.0);
    else
        run(0.0f);
    check_launch("assign_points");
}

}  // namespace asl::cuda
