// SPDX-License-Identifier: Apache-2.0
// Bindings of csrc/cuda/sensitivity_focal_loss.cu, which nvcc compiles without pybind11: with it, it takes ten times as
// long.
#include "cuda/sensitivity_focal_loss.h"

#include "bindings.h"

namespace py = pybind11;

namespace asl::cuda {
namespace {

const Binding binding([](py::module_& m) {
    m.def("sensitivity_focal_loss_tiles", &asl::cuda::sensitivity_focal_loss_tiles, py::arg("rows"), py::arg("classes"),
          "Blocks that have work.");
    m.def("sensitivity_focal_loss", &asl::cuda::sensitivity_focal_loss, py::kw_only(), py::arg("logits"),
          py::arg("targets"), py::arg("ids"), py::arg("weights"), py::arg("row_weights"), py::arg("mask"),
          py::arg("kept"), py::arg("rows"), py::arg("classes"), py::arg("alpha"), py::arg("gamma"),
          py::arg("label_smoothing"), py::arg("reduction"), py::arg("blocks"), py::arg("out_loss"), py::arg("parts"),
          py::arg("counter"), py::arg("out_grad_logits"), py::arg("out_grad_weights"), py::arg("stream"),
          "Focal loss and its derivatives, queued on the stream.");
});

}  // namespace
}  // namespace asl::cuda
