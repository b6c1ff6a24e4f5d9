// SPDX-License-Identifier: Apache-2.0
// Bindings of csrc/cuda/assign_points.cu, which nvcc compiles without pybind11: with it, it takes ten times as long.
#include "cuda/assign_points.h"

#include "bindings.h"

namespace py = pybind11;

namespace asl::cuda {
namespace {

const Binding binding([](py::module_& m) {
    m.def("assign_points", &asl::cuda::assign_points, py::kw_only(), py::arg("points"), py::arg("segments"),
          py::arg("labels"), py::arg("video_offsets"), py::arg("num_points"), py::arg("videos"), py::arg("classes"),
          py::arg("radius"), py::arg("tie_tolerance"), py::arg("is_double"), py::arg("out_class_targets"),
          py::arg("out_offsets"), py::arg("out_instance"), py::arg("out_distance"), py::arg("stream"),
          "Point assignment of a ragged batch, queued on the stream.");
});

}  // namespace
}  // namespace asl::cuda
