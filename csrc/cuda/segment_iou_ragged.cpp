// SPDX-License-Identifier: Apache-2.0
// Bindings of csrc/cuda/segment_iou_ragged.cu, which nvcc compiles without pybind11: with it, it takes ten times as
// long.
#include "cuda/segment_iou_ragged.h"

#include "bindings.h"

namespace py = pybind11;

namespace asl::cuda {
namespace {

const Binding binding([](py::module_& m) {
    bind_struct(m, "RaggedPairs", "Segments of both sides, video after video, and their sizes.",
                field("a", &RaggedPairs::a), field("b", &RaggedPairs::b),
                field("a_video_offsets", &RaggedPairs::a_video_offsets),
                field("b_video_offsets", &RaggedPairs::b_video_offsets), field("n", &RaggedPairs::n),
                field("m", &RaggedPairs::m), field("videos", &RaggedPairs::videos),
                field("max_pairs", &RaggedPairs::max_pairs), field("distance", &RaggedPairs::distance));
    m.def("segment_iou_ragged", &segment_iou_ragged, py::kw_only(), py::arg("pairs"), py::arg("out_values"),
          py::arg("out_pair_offsets"), py::arg("stream"),
          "IoU or distance IoU of the pairs of each video, queued on the stream.");
    m.def("segment_iou_ragged_backward", &segment_iou_ragged_backward, py::kw_only(), py::arg("pairs"), py::arg("grad"),
          py::arg("pair_offsets"), py::arg("is_double"), py::arg("out_grad_a"), py::arg("out_grad_b"),
          py::arg("stream"), "Gradients of segment_iou_ragged, queued on the stream.");
});

}  // namespace
}  // namespace asl::cuda
