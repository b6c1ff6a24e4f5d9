// SPDX-License-Identifier: Apache-2.0
// Bindings of csrc/cuda/diou_loss.cu, which nvcc compiles without pybind11: with it, it takes ten times as long.
#include "cuda/diou_loss.h"

#include "bindings.h"

namespace py = pybind11;

namespace asl::cuda {
namespace {

const Binding binding([](py::module_& m) {
    m.def("diou_loss", &asl::cuda::diou_loss, py::arg("pred"), py::arg("target"), py::arg("weights"), py::arg("rows"),
          py::arg("reduction"), py::arg("eps"), py::arg("blocks"), py::arg("out_loss"), py::arg("parts"),
          py::arg("counter"), py::arg("out_grad_pred"), py::arg("out_grad_target"), py::arg("out_grad_weights"),
          py::arg("stream"), "DIoU loss and its derivatives, queued on the stream.");
});

}  // namespace
}  // namespace asl::cuda
