// SPDX-License-Identifier: Apache-2.0
// NmsOptions as Python makes it, in both modules.
#pragma once

#include "bindings.h"
#include "common/soft_nms.h"

namespace asl {

inline void bind_nms_options(pybind11::module_& m) {
    using Options = NmsOptions;
    bind_struct(m, "NmsOptions", "The numbers that soft-NMS takes, under their names in the op.",
                field("method", &Options::method), field("sigma", &Options::sigma),
                field("iou_threshold", &Options::iou_threshold), field("min_score", &Options::min_score),
                field("max_segments", &Options::max_segments), field("voting_threshold", &Options::voting_threshold),
                field("keep_best", &Options::keep_best), field("num_videos", &Options::num_videos));
}

}  // namespace asl
