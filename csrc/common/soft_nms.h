// SPDX-License-Identifier: Apache-2.0
// The scalar rules of temporal soft-NMS: overlap, decay, order of candidates, weight of a vote.
// Every operation rounds to float32 in the order written, so that all implementations give the same bits.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "common/host_device.h"

namespace asl {

enum class NmsMethod : int { kHard = 0, kLinear = 1, kGaussian = 2 };

/// How candidates are selected, and what votes; asl_fast.soft_nms explains each. Every function here takes it whole, so
/// that a new option is added here and in csrc/soft_nms_bindings.h, and used where it counts.
struct NmsOptions {
    NmsMethod method = NmsMethod::kGaussian;
    float sigma = 0.5f;
    float iou_threshold = 0.1f;
    float min_score = 0.0f;
    std::int64_t max_segments = 0;  // <= 0: no limit
    float voting_threshold = 0.0f;  // <= 0: no voting
    bool keep_best = false;
    std::int64_t num_videos = 0;  // 0: not known; the caller has sized its buffers by it
};

/// How many of the candidates of a video may be kept.
ASL_HOST_DEVICE std::int64_t nms_limit(std::int64_t candidates, const NmsOptions& options) {
    return options.max_segments > 0 && options.max_segments < candidates ? options.max_segments : candidates;
}

/// Length as soft-NMS counts it. The constant is ActionFormer's: it keeps identical segments just below IoU 1.
ASL_HOST_DEVICE float nms_area(float start, float end) { return (end - start) + 1e-6f; }

/// Factor on the score of a candidate that overlaps a selected segment by `inter` > 0; areas from nms_area.
///
/// Negative means suppressed for good, which a factor of 0 would not say when min_score is 0.
ASL_HOST_DEVICE float nms_decay(float inter, float selected_area, float candidate_area, const NmsOptions& options) {
    const float iou = inter / ((selected_area + candidate_area) - inter);
    switch (options.method) {
        case NmsMethod::kHard:
            return iou >= options.iou_threshold ? -1.0f : 1.0f;
        case NmsMethod::kLinear:
            return iou >= options.iou_threshold ? 1.0f - iou : 1.0f;
        default:
            // exp in double and one rounding: the same float32 from every maths library and on every device.
            return static_cast<float>(exp(static_cast<double>(-(iou * iou) / options.sigma)));
    }
}

/// At least what `factors` Gaussian decays whose exponents sum to -exponent leave of a score after their roundings.
ASL_HOST_DEVICE float nms_bound(float score, float exponent, int factors) {
    const float tiny = 1e-37f;  // more than anything that rounding makes of what is lost to underflow
    if (exponent > 200.0f) return tiny;
    const double slack = 1.0 + 1e-6 + 3e-7 * factors + 5e-7 * static_cast<double>(exponent);
    return static_cast<float>(score * exp(-static_cast<double>(exponent)) * slack) + tiny;
}

/// Sort key, larger first: by score, at equal scores the lower index. For scores >= 0 only.
ASL_HOST_DEVICE std::uint64_t nms_key(float score, std::uint32_t index) {
    const float positive = score + 0.0f;  // -0 would sort above everything
    std::uint32_t bits;
    std::memcpy(&bits, &positive, sizeof(bits));
    return (static_cast<std::uint64_t>(bits) << 32) | (0xFFFFFFFFu - index);
}

ASL_HOST_DEVICE std::uint32_t nms_key_index(std::uint64_t key) { return 0xFFFFFFFFu - static_cast<std::uint32_t>(key); }

ASL_HOST_DEVICE float nms_key_score(std::uint64_t key) {
    const std::uint32_t bits = static_cast<std::uint32_t>(key >> 32);
    float score;
    std::memcpy(&score, &bits, sizeof(score));
    return score;
}

/// Weight of a candidate's vote on where a kept segment lies: score * IoU of plain lengths, 0 below the threshold.
ASL_HOST_DEVICE float vote_weight(float kept_start, float kept_end, float start, float end, float score,
                                  const NmsOptions& options) {
    const float inter = (end < kept_end ? end : kept_end) - (start > kept_start ? start : kept_start);
    if (!(inter > 0.0f) || !(score > 0.0f)) return 0.0f;
    const float iou = inter / (((kept_end - kept_start) + (end - start)) - inter);
    return iou >= options.voting_threshold ? score * iou : 0.0f;
}

/// How far the start of a candidate that votes can lie from the start of the kept segment, which has this length.
ASL_HOST_DEVICE float vote_reach(float length, const NmsOptions& options) {
    const float threshold = options.voting_threshold;
    // The starts differ by at most union - intersection <= (1 - t) * union, and union <= length / t; then rounding.
    return length * ((1.0f - threshold) / threshold * 1.0001f + 1e-4f);
}

}  // namespace asl
