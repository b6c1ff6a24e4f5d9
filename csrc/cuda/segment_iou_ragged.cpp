// SPDX-License-Identifier: Apache-2.0
// Bindings of csrc/cuda/segment_iou_ragged.cu, which nvcc compiles without pybind11: with it, it takes ten times as long.
#include "cuda/segment_iou_ragged.h"

#include "bindings.h"

namespace py = pybind11;

namespace asl::cuda {
namespace {

const Binding binding([](py::module_& m) {
    m.def("segment_iou_ragged", &asl::cuda::segment_iou_ragged, py::arg("a"), py::arg("b"), py::arg("a_offsets"),
          py::arg("b_offsets"), py::arg("n"), py::arg("m"), py::arg("videos"), py::arg("max_pairs"),
          py::arg("distance"), py::arg("out_values"), py::arg("out_offsets"), py::arg("stream"),
          "IoU or distance IoU of the pairs of each video, queued on the stream.");
    m.def("segment_iou_ragged_backward", &asl::cuda::segment_iou_ragged_backward, py::arg("grad"), py::arg("a"),
          py::arg("b"), py::arg("a_offsets"), py::arg("b_offsets"), py::arg("offsets"), py::arg("n"), py::arg("m"),
          py::arg("videos"), py::arg("max_pairs"), py::arg("distance"), py::arg("is_double"), py::arg("out_grad_a"),
          py::arg("out_grad_b"), py::arg("stream"), "Gradients of segment_iou_ragged, queued on the stream.");
});

}  // namespace
}  // namespace asl::cuda
