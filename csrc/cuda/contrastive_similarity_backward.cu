// SPDX-License-Identifier: Apache-2.0
// Action Sensitive Contrastive Loss, backward, in two launches: the pooled vectors, then frames and Gaussians.
#include "cuda/contrastive_similarity.h"
#include "cuda/contrastive_similarity_gather.cuh"
#include "cuda/contrastive_similarity_info_nce_backward.cuh"
#include "cuda/contrastive_similarity_pointers.h"
#include "cuda/launch.h"

namespace asl::cuda {
namespace {

template <int kPacks, class Real>
void vector_gradient(const Instances<Real>& in, const ContrastiveBuffers& buffers, const LossGradient<Real>& incoming,
                     double temperature, Real* out, cudaStream_t stream) {
    const std::int64_t slices = blocks_of(in.channels, kSliceChannels<kPacks, Real>);
    const std::int64_t blocks = blocks_of(3 * in.count, kTileRows) * slices;
    if (blocks == 0) return;
    launch(&vector_gradient_kernel<kPacks, Real>, dim3(static_cast<unsigned>(blocks)), dim3(kContrastiveThreads), 0,
           stream, in, contrastive_pointer<const Real>(buffers.vectors), contrastive_pointer<const Real>(buffers.stats),
           contrastive_pointer<const Real>(buffers.anchors), incoming, Real(1) / static_cast<Real>(temperature),
           static_cast<int>(slices), out);
    check_launch("contrastive_similarity vector_gradient");
}

template <class T, class Real>
void backward(const T* features, const ContrastiveBuffers& buffers, const LossGradient<Real>& incoming,
              double temperature, std::uintptr_t grad_vectors, const GaussianGradients<Real>& gaussians,
              bool need_gaussians, std::uintptr_t grad_features, cudaStream_t stream) {
    const Instances<Real> in = instances_of<Real>(buffers);
    auto* vectors = contrastive_pointer<Real>(grad_vectors);
    // Each block computes the similarities of its rows: the fewer share the channels, the better.
    if (sizeof(Real) == sizeof(float) && in.channels > kSliceChannels<1, float>)
        vector_gradient<sizeof(Real) == sizeof(float) ? 2 : 1, Real>(in, buffers, incoming, temperature, vectors,
                                                                     stream);
    else
        vector_gradient<1, Real>(in, buffers, incoming, temperature, vectors, stream);
    const std::int64_t instances = need_gaussians ? in.count : 0;
    const std::int64_t frames =
        grad_features != 0 ? in.batch * blocks_of(in.frames, kFrames) * blocks_of(in.channels, kFrameChannels) : 0;
    if (instances + frames == 0) return;
    launch(&gather_kernel<T, Real>, dim3(static_cast<unsigned>(instances + frames)), dim3(kContrastiveThreads), 0,
           stream, features, in, vectors, static_cast<unsigned>(instances), gaussians,
           contrastive_pointer<T>(grad_features));
    check_launch("contrastive_similarity gather");
}

}  // namespace

void contrastive_similarity_backward(const ContrastiveBuffers& buffers, View grad_total, View grad_loss,
                                     double temperature, double weight, std::uintptr_t grad_vectors,
                                     std::uintptr_t each, std::uintptr_t counter, std::uintptr_t grad_features,
                                     View grad_mu, View grad_sigma, std::uintptr_t stream) {
    with_features(buffers.features, [&](auto* features, auto real) {
        using Real = decltype(real);
        using T = std::remove_const_t<std::remove_pointer_t<decltype(features)>>;
        const LossGradient<Real> incoming{Source(grad_total), Source(grad_loss), static_cast<Real>(weight)};
        const GaussianGradients<Real> gaussians{contrastive_pointer<Real>(each), contrastive_pointer<unsigned>(counter),
                                                buffers.classes, Sink(grad_mu), Sink(grad_sigma)};
        backward<T, Real>(features, buffers, incoming, temperature, grad_vectors, gaussians, each != 0, grad_features,
                          as_stream(stream));
    });
}

}  // namespace asl::cuda
