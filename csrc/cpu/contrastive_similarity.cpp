// SPDX-License-Identifier: Apache-2.0
#include "cpu/contrastive_similarity.h"

#include "bindings.h"

#include <pybind11/stl.h>


namespace py = pybind11;

namespace asl {
namespace {

struct Tensors {
    View features;
    std::uintptr_t mask, segments, labels, offsets, mu, sigma, vectors, stats, ranges, anchors;
    std::int64_t batch, frames, channels, count, classes;
    bool is_double;
    int threads;
};

template <class Real>
ContrastiveSimilarity<Real> op(const Tensors& t) {
    const ContrastiveInput<Real> input{Source(t.features),
                                       pointer<const std::uint8_t>(t.mask),
                                       pointer<const Real>(t.segments),
                                       pointer<const std::int64_t>(t.labels),
                                       pointer<const std::int64_t>(t.offsets),
                                       pointer<const Real>(t.mu),
                                       pointer<const Real>(t.sigma),
                                       t.batch,
                                       t.frames,
                                       t.channels,
                                       t.count,
                                       t.classes};
    const ContrastiveState<Real> state{pointer<Real>(t.vectors), pointer<Real>(t.stats),
                                       pointer<InstanceFrames>(t.ranges), pointer<Real>(t.anchors)};
    return ContrastiveSimilarity<Real>(input, state, t.threads);
}

template <class Real>
void forward(const Tensors& t, double delta, double temperature, std::uintptr_t loss) {
    op<Real>(t).forward(static_cast<Real>(delta), static_cast<Real>(temperature), pointer<Real>(loss));
}

template <class Real>
void backward(const Tensors& t, double grad, double temperature, std::uintptr_t grad_features, std::uintptr_t grad_mu,
              std::uintptr_t grad_sigma) {
    op<Real>(t).backward(static_cast<Real>(grad), static_cast<Real>(temperature), pointer<Real>(grad_features),
                         pointer<Real>(grad_mu), pointer<Real>(grad_sigma));
}

const Binding binding([](py::module_& m) {
    py::class_<Tensors>(m, "ContrastiveTensors")
        .def(
            py::init([](View features, const std::vector<std::uintptr_t>& at, const std::vector<std::int64_t>& sizes,
                        bool is_double, int threads) {
                return Tensors{features,    at.at(0),    at.at(1),    at.at(2),    at.at(3),  at.at(4),
                               at.at(5),    at.at(6),    at.at(7),    at.at(8),    at.at(9),  sizes.at(0),
                               sizes.at(1), sizes.at(2), sizes.at(3), sizes.at(4), is_double, threads};
            }),
            py::arg("features"), py::arg("at"), py::arg("sizes"), py::arg("is_double"), py::arg("threads"),
            "Contiguous tensors of one call; `at`: mask, segments, labels, offsets, mu, sigma, vectors, stats, ranges, "
            "count; `sizes`: videos, frames, channels, instances, classes.");
    m.def(
        "contrastive_similarity_forward",
        [](const Tensors& tensors, double delta, double temperature, std::uintptr_t out_loss) {
            const py::gil_scoped_release release;
            (tensors.is_double ? forward<double> : forward<float>)(tensors, delta, temperature, out_loss);
        },
        py::arg("tensors"), py::arg("delta"), py::arg("temperature"), py::arg("out_loss"));
    m.def(
        "contrastive_similarity_backward",
        [](const Tensors& tensors, double grad, double temperature, std::uintptr_t out_grad_features,
           std::uintptr_t out_grad_mu, std::uintptr_t out_grad_sigma) {
            const py::gil_scoped_release release;
            (tensors.is_double ? backward<double> : backward<float>)(tensors, grad, temperature, out_grad_features,
                                                                     out_grad_mu, out_grad_sigma);
        },
        py::arg("tensors"), py::arg("grad"), py::arg("temperature"), py::arg("out_grad_features"),
        py::arg("out_grad_mu"), py::arg("out_grad_sigma"), "Gradients at address 0 are not computed.");
});

}  // namespace
}  // namespace asl
