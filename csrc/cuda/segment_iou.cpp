// SPDX-License-Identifier: Apache-2.0
// Bindings of csrc/cuda/segment_iou.cu, which nvcc compiles without pybind11: with it, it takes ten times as long.
#include "cuda/segment_iou.h"

#include "bindings.h"

namespace py = pybind11;

namespace asl::cuda {
namespace {

const Binding binding([](py::module_& m) {
    bind_struct(m, "SegmentPairs", "Segments of both sides and their sizes, of each batch entry.",
                field("a", &SegmentPairs::a), field("b", &SegmentPairs::b), field("n", &SegmentPairs::n),
                field("m", &SegmentPairs::m), field("a_batch", &SegmentPairs::a_batch),
                field("b_batch", &SegmentPairs::b_batch), field("batch", &SegmentPairs::batch),
                field("aligned", &SegmentPairs::aligned), field("distance", &SegmentPairs::distance));
    m.def("segment_iou", &segment_iou, py::kw_only(), py::arg("pairs"), py::arg("out"), py::arg("stream"),
          "IoU or distance IoU, queued on the stream.");
    m.def("segment_iou_backward", &segment_iou_backward, py::kw_only(), py::arg("pairs"), py::arg("grad"),
          py::arg("is_double"), py::arg("out_grad_a"), py::arg("out_grad_b"), py::arg("stream"),
          "Gradients of segment_iou, queued on the stream.");
});

}  // namespace
}  // namespace asl::cuda
