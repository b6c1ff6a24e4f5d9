// SPDX-License-Identifier: Apache-2.0
// Bindings of csrc/cuda/contrastive_similarity*.cu, which nvcc compiles without pybind11: with it, it takes ten times
// as long.
#include "cuda/contrastive_similarity.h"

#include "contrastive_similarity_bindings.h"

namespace py = pybind11;

namespace asl::cuda {
namespace {

const Binding binding([](py::module_& m) {
    bind_contrastive_buffers(m);
    m.def("contrastive_similarity_parts", &contrastive_similarity_parts, py::kw_only(), py::arg("count"),
          py::arg("is_double"), "Numbers of scratch.");
    m.def("contrastive_similarity_forward", &contrastive_similarity_forward, py::kw_only(), py::arg("buffers"),
          py::arg("delta"), py::arg("temperature"), py::arg("base"), py::arg("weight"), py::arg("parts"),
          py::arg("counter"), py::arg("out_total"), py::arg("out_loss"), py::arg("stream"),
          "The contrastive loss, queued on the stream.");
    m.def("contrastive_similarity_backward", &contrastive_similarity_backward, py::kw_only(), py::arg("buffers"),
          py::arg("grad_total"), py::arg("grad_loss"), py::arg("temperature"), py::arg("weight"),
          py::arg("grad_vectors"), py::arg("each"), py::arg("counter"), py::arg("out_grad_features"),
          py::arg("out_grad_mu"), py::arg("out_grad_sigma"), py::arg("stream"),
          "Gradients of the contrastive loss, queued on the stream.");
});

}  // namespace
}  // namespace asl::cuda
