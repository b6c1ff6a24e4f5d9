// SPDX-License-Identifier: Apache-2.0
// Bindings of csrc/cuda/contrastive_similarity.cu, which nvcc compiles without pybind11: with it, it takes ten times as long.
#include "cuda/contrastive_similarity.h"

#include "bindings.h"

namespace py = pybind11;

namespace asl::cuda {
namespace {

const Binding binding([](py::module_& m) {
    m.def("contrastive_similarity_parts", &asl::cuda::contrastive_similarity_parts, "Numbers of scratch.");
    m.def("contrastive_similarity_forward", &asl::cuda::contrastive_similarity_forward, py::arg("buffers"),
          py::arg("delta"), py::arg("temperature"), py::arg("base"), py::arg("weight"), py::arg("parts"),
          py::arg("counter"), py::arg("out_total"), py::arg("out_loss"), py::arg("stream"),
          "The contrastive loss, queued on the stream.");
    m.def("contrastive_similarity_backward", &asl::cuda::contrastive_similarity_backward, py::arg("buffers"),
          py::arg("grad_total"), py::arg("grad_loss"), py::arg("temperature"), py::arg("weight"),
          py::arg("grad_vectors"), py::arg("each"), py::arg("counter"), py::arg("out_grad_features"),
          py::arg("out_grad_mu"), py::arg("out_grad_sigma"), py::arg("stream"),
          "Gradients of the contrastive loss, queued on the stream.");
});

}  // namespace
}  // namespace asl::cuda
