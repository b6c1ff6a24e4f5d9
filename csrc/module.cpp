// SPDX-License-Identifier: Apache-2.0
// The module asl_fast._native: one register_<op> call per file of csrc/cpu.
#include <pybind11/pybind11.h>

#include "cpu/parallel.h"
#include "cpu/registry.h"

namespace py = pybind11;

PYBIND11_MODULE(_native, m, py::mod_gil_not_used()) {
    m.doc() = "Compiled CPU operators of asl_fast; called through asl_fast.ops, which checks the arguments.";
    m.attr("compiler") = ASL_COMPILER;
    m.def("default_threads", &asl::default_threads, "Threads an operator uses when it is asked for 0.");
    asl::register_assign_points(m);
    asl::register_contrastive_similarity(m);
    asl::register_diou_loss(m);
    asl::register_match_segments(m);
    asl::register_segment_iou(m);
    asl::register_segment_iou_ragged(m);
    asl::register_sensitivity_focal_loss(m);
    asl::register_soft_nms(m);
}
