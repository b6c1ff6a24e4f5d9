// SPDX-License-Identifier: Apache-2.0
// Action Sensitive Contrastive Loss, forward, in two launches: pooling, then InfoNCE and its mean.
#include "cuda/contrastive_similarity.h"

#include <algorithm>

#include "cuda/contrastive_similarity_info_nce.cuh"
#include "cuda/contrastive_similarity_pointers.h"
#include "cuda/launch.h"

namespace asl::cuda {
namespace {

/// Enough blocks for any number of instances up to this one.
template <class Real>
std::int64_t log_sums_blocks(std::int64_t room) {
    const std::int64_t rows = blocks_of(2 * room, kTileRows), keys = blocks_of(3 * room, kTileKeys<Real>);
    return std::max(rows, std::min(kContrastiveBlocks, rows * std::min(kContrastiveParts, keys)));
}

template <class T, class Real>
void forward(const T* features, const ContrastiveBuffers& buffers, double delta, double temperature,
             std::uintptr_t base, double weight, std::uintptr_t parts, std::uintptr_t counter, std::uintptr_t total,
             std::uintptr_t loss, cudaStream_t stream) {
    const Instances<Real> in = instances_of<Real>(buffers);
    auto* vectors = contrastive_pointer<Real>(buffers.vectors);
    auto* stats = contrastive_pointer<Real>(buffers.stats);
    launch(&pool_kernel<T, Real>, dim3(static_cast<unsigned>(in.count)), dim3(kContrastiveThreads), 0, stream, features,
           in, static_cast<Real>(delta), vectors, stats);
    check_launch("contrastive_similarity pool");
    const ContrastiveLoss<Real> to{contrastive_pointer<const Real>(base), static_cast<Real>(weight),
                                   contrastive_pointer<Real>(total), contrastive_pointer<Real>(loss),
                                   contrastive_pointer<Real>(buffers.anchors)};
    launch(&log_sums_kernel<Real>, dim3(static_cast<unsigned>(log_sums_blocks<Real>(in.room))),
           dim3(kContrastiveThreads), 0, stream, in, vectors, Real(1) / static_cast<Real>(temperature),
           contrastive_pointer<Real>(parts), contrastive_pointer<unsigned>(counter), stats, to);
    check_launch("contrastive_similarity log_sums");
}

}  // namespace

std::int64_t contrastive_similarity_parts(std::int64_t count, bool is_double) {
    return 4 * kTileRows * (is_double ? log_sums_blocks<double>(count) : log_sums_blocks<float>(count));
}

void contrastive_similarity_forward(const ContrastiveBuffers& buffers, double delta, double temperature,
                                    std::uintptr_t base, double weight, std::uintptr_t parts, std::uintptr_t counter,
                                    std::uintptr_t total, std::uintptr_t loss, std::uintptr_t stream) {
    with_features(buffers.features, [&](auto* features, auto real) {
        using Real = decltype(real);
        using T = std::remove_const_t<std::remove_pointer_t<decltype(features)>>;
        forward<T, Real>(features, buffers, delta, temperature, base, weight, parts, counter, total, loss,
                         as_stream(stream));
    });
}

}  // namespace asl::cuda
