// SPDX-License-Identifier: Apache-2.0
// Bindings of csrc/cuda/segment_iou.cu, which nvcc compiles without pybind11: with it, it takes ten times as long.
#include "cuda/segment_iou.h"

#include "bindings.h"

namespace py = pybind11;

namespace asl::cuda {
namespace {

const Binding binding([](py::module_& m) {
    m.def("segment_iou", &asl::cuda::segment_iou, py::arg("a"), py::arg("b"), py::arg("n"), py::arg("m"),
          py::arg("a_batch"), py::arg("b_batch"), py::arg("batch"), py::arg("aligned"), py::arg("distance"),
          py::arg("out"), py::arg("stream"), "IoU or distance IoU, queued on the stream.");
    m.def("segment_iou_backward", &asl::cuda::segment_iou_backward, py::arg("grad"), py::arg("a"), py::arg("b"),
          py::arg("n"), py::arg("m"), py::arg("a_batch"), py::arg("b_batch"), py::arg("batch"), py::arg("aligned"),
          py::arg("distance"), py::arg("is_double"), py::arg("out_grad_a"), py::arg("out_grad_b"), py::arg("stream"),
          "Gradients of segment_iou, queued on the stream.");
});

}  // namespace
}  // namespace asl::cuda
