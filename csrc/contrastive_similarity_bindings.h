// SPDX-License-Identifier: Apache-2.0
// ContrastiveBuffers as Python makes it, in both modules.
#pragma once

#include "bindings.h"
#include "common/contrastive_similarity_buffers.h"

namespace asl {

inline void bind_contrastive_buffers(pybind11::module_& m) {
    using Buffers = ContrastiveBuffers;
    bind_struct(m, "ContrastiveBuffers", "Contiguous tensors of a call of the contrastive loss, and their sizes.",
                field("features", &Buffers::features), field("mask", &Buffers::mask),
                field("segments", &Buffers::segments), field("labels", &Buffers::labels),
                field("video_offsets", &Buffers::video_offsets), field("mu", &Buffers::mu),
                field("sigma", &Buffers::sigma), field("vectors", &Buffers::vectors), field("stats", &Buffers::stats),
                field("ranges", &Buffers::ranges), field("anchors", &Buffers::anchors), field("batch", &Buffers::batch),
                field("frames", &Buffers::frames), field("channels", &Buffers::channels),
                field("count", &Buffers::count), field("classes", &Buffers::classes));
}

}  // namespace asl
