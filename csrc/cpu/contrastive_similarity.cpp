// SPDX-License-Identifier: Apache-2.0
#include "cpu/contrastive_similarity.h"

#include "contrastive_similarity_bindings.h"

namespace py = pybind11;

namespace asl {
namespace {

template <class Real>
ContrastiveSimilarity<Real> op(const ContrastiveBuffers& buffers, int threads) {
    ContrastiveInput<Real> input{};
    input.features = Source(buffers.features);
    input.mask = pointer<const std::uint8_t>(buffers.mask);
    input.segments = pointer<const Real>(buffers.segments);
    input.labels = pointer<const std::int64_t>(buffers.labels);
    input.video_offsets = pointer<const std::int64_t>(buffers.video_offsets);
    input.mu = pointer<const Real>(buffers.mu);
    input.sigma = pointer<const Real>(buffers.sigma);
    input.batch = buffers.batch;
    input.frames = buffers.frames;
    input.channels = buffers.channels;
    input.count = buffers.count;
    input.classes = buffers.classes;
    ContrastiveState<Real> state{};
    state.vectors = pointer<Real>(buffers.vectors);
    state.stats = pointer<Real>(buffers.stats);
    state.ranges = pointer<InstanceFrames>(buffers.ranges);
    state.anchors = pointer<Real>(buffers.anchors);
    return ContrastiveSimilarity<Real>(input, state, threads);
}

template <class Real>
void forward(const ContrastiveBuffers& buffers, double delta, double temperature, std::uintptr_t loss, int threads) {
    op<Real>(buffers, threads).forward(static_cast<Real>(delta), static_cast<Real>(temperature), pointer<Real>(loss));
}

template <class Real>
void backward(const ContrastiveBuffers& buffers, double grad, double temperature, std::uintptr_t grad_features,
              std::uintptr_t grad_mu, std::uintptr_t grad_sigma, int threads) {
    op<Real>(buffers, threads)
        .backward(static_cast<Real>(grad), static_cast<Real>(temperature), pointer<Real>(grad_features),
                  pointer<Real>(grad_mu), pointer<Real>(grad_sigma));
}

bool in_double(const ContrastiveBuffers& buffers) {
    return static_cast<Dtype>(buffers.features.dtype) == Dtype::kFloat64;
}

const Binding binding([](py::module_& m) {
    bind_contrastive_buffers(m);
    m.def(
        "contrastive_similarity_forward",
        [](const ContrastiveBuffers& buffers, double delta, double temperature, std::uintptr_t out_loss, int threads) {
            const py::gil_scoped_release release;
            (in_double(buffers) ? forward<double> : forward<float>)(buffers, delta, temperature, out_loss, threads);
        },
        py::kw_only(), py::arg("buffers"), py::arg("delta"), py::arg("temperature"), py::arg("out_loss"),
        py::arg("threads"), "The contrastive loss, and what its backward pass needs; there is an instance.");
    m.def(
        "contrastive_similarity_backward",
        [](const ContrastiveBuffers& buffers, double grad, double temperature, std::uintptr_t out_grad_features,
           std::uintptr_t out_grad_mu, std::uintptr_t out_grad_sigma, int threads) {
            const py::gil_scoped_release release;
            (in_double(buffers) ? backward<double> : backward<float>)(buffers, grad, temperature, out_grad_features,
                                                                      out_grad_mu, out_grad_sigma, threads);
        },
        py::kw_only(), py::arg("buffers"), py::arg("grad"), py::arg("temperature"), py::arg("out_grad_features"),
        py::arg("out_grad_mu"), py::arg("out_grad_sigma"), py::arg("threads"),
        "Gradients in the type that it computes in; those at address 0 are not computed.");
});

}  // namespace
}  // namespace asl
