// SPDX-License-Identifier: Apache-2.0
// Bindings of csrc/cuda/soft_nms.cu, which nvcc compiles without pybind11: with it, it takes ten times as long.
#include "cuda/soft_nms.h"

#include "soft_nms_bindings.h"

namespace py = pybind11;

namespace asl::cuda {
namespace {

const Binding binding([](py::module_& m) {
    bind_nms_options(m);
    bind_struct(m, "NmsBuffers", "Addresses of candidates and selections.", field("segments", &NmsBuffers::segments),
                field("scores", &NmsBuffers::scores), field("labels", &NmsBuffers::labels),
                field("rows", &NmsBuffers::rows), field("starts", &NmsBuffers::starts),
                field("positions", &NmsBuffers::positions), field("decayed", &NmsBuffers::decayed),
                field("counts", &NmsBuffers::counts), field("count", &NmsBuffers::count),
                field("videos", &NmsBuffers::videos));
    m.def("soft_nms_select", &soft_nms_select, py::kw_only(), py::arg("buffers"), py::arg("current"), py::arg("best"),
          py::arg("seen"), py::arg("options"), py::arg("blocks"), py::arg("stream"),
          "Soft-NMS, queued on the stream; each block takes one video after the other.");
    m.def("soft_nms_collect", &soft_nms_collect, py::kw_only(), py::arg("buffers"), py::arg("ends"), py::arg("options"),
          py::arg("rows"), py::arg("out_indices"), py::arg("out_segments"), py::arg("out_scores"), py::arg("out_count"),
          py::arg("stream"), "The padded result of soft-NMS, with segment voting, queued on the stream.");
});

}  // namespace
}  // namespace asl::cuda
