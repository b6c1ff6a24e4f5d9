// SPDX-License-Identifier: Apache-2.0
// The buffers of a call of the contrastive loss as typed pointers, for both of its launchers.
#pragma once

#include "common/contrastive_similarity_buffers.h"
#include "cuda/contrastive_similarity_pool.cuh"

namespace asl::cuda {

template <class T>
T* contrastive_pointer(std::uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

template <class Real>
Instances<Real> instances_of(const ContrastiveBuffers& buffers) {
    return {contrastive_pointer<const std::uint8_t>(buffers.mask),
            contrastive_pointer<const Real>(buffers.segments),
            contrastive_pointer<const std::int64_t>(buffers.labels),
            contrastive_pointer<const std::int64_t>(buffers.video_offsets),
            contrastive_pointer<const Real>(buffers.mu),
            contrastive_pointer<const Real>(buffers.sigma),
            contrastive_pointer<InstanceFrames>(buffers.ranges),
            buffers.batch,
            buffers.frames,
            buffers.count,
            buffers.count,
            static_cast<int>(buffers.channels)};
}

/// run(pointer to the features, zero of the type it computes in).
template <class Run>
void with_features(View features, const Run& run) {
    switch (static_cast<Dtype>(features.dtype)) {
        case Dtype::kFloat64:
            return run(contrastive_pointer<const double>(features.address), 0.0);
        case Dtype::kFloat16:
            return run(contrastive_pointer<const __half>(features.address), 0.0f);
        case Dtype::kBFloat16:
            return run(contrastive_pointer<const __nv_bfloat16>(features.address), 0.0f);
        default:
            return run(contrastive_pointer<const float>(features.address), 0.0f);
    }
}

}  // namespace asl::cuda
