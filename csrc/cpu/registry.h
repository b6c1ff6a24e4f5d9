// SPDX-License-Identifier: Apache-2.0
// One line per operator: csrc/cpu/<op>.cpp defines register_<op>, csrc/module.cpp calls it.
#pragma once

#include <pybind11/pybind11.h>

namespace asl {

void register_assign_points(pybind11::module_& m);
void register_contrastive_similarity(pybind11::module_& m);
void register_diou_loss(pybind11::module_& m);
void register_match_segments(pybind11::module_& m);
void register_segment_iou(pybind11::module_& m);
void register_segment_iou_ragged(pybind11::module_& m);
void register_sensitivity_focal_loss(pybind11::module_& m);
void register_soft_nms(pybind11::module_& m);

}  // namespace asl
