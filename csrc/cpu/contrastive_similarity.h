// SPDX-License-Identifier: Apache-2.0
// Action Sensitive Contrastive Loss: pooling of the instances' frames, InfoNCE, and the way back.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "common/contrastive_similarity.h"
#include "cpu/buffers.h"
#include "cpu/contrastive_similarity_info_nce.h"

namespace asl {

template <class Real>
struct ContrastiveInput {
    Source features;                             // (batch, frames, channels)
    const std::uint8_t* mask;                    // (batch, frames)
    const Real* segments;                        // (count, 2)
    const std::int64_t *labels, *video_offsets;  // (count,), (batch + 1,)
    const Real *mu, *sigma;                      // (classes, 3)
    std::int64_t batch, frames, channels, count, classes;
};

/// What the forward pass leaves for the backward pass.
template <class Real>
struct ContrastiveState {
    Real* vectors;           // (3, count, channels) unit vectors
    Real* stats;             // (3, 3, count): one over the lengths, the two log-sum-exps
    InstanceFrames* ranges;  // (count,)
    Real* anchors;           // number of anchors with a positive, at least 1
};

/// to += weight * from.
template <class Real>
struct AddScaled {
    static ASL_HOST_DEVICE void run(Real* __restrict to, const Real* __restrict from, Real weight, std::int64_t count) {
        for (std::int64_t d = 0; d < count; ++d) to[d] += weight * from[d];
    }
};

template <class Real>
struct Dot {
    static ASL_HOST_DEVICE void run(const Real* __restrict a, const Real* __restrict b, std::int64_t count, Real* out) {
        Real lanes[kExpLanes] = {};
        std::int64_t d = 0;
        for (; d + kExpLanes <= count; d += kExpLanes)
            for (std::int64_t lane = 0; lane < kExpLanes; ++lane) lanes[lane] += a[d + lane] * b[d + lane];
        for (; d < count; ++d) lanes[d % kExpLanes] += a[d] * b[d];
        Real sum = 0;
        for (const Real lane : lanes) sum += lane;
        *out = sum;
    }
};

template <class Real>
class ContrastiveSimilarity {
  public:
    ContrastiveSimilarity(const ContrastiveInput<Real>& input, const ContrastiveState<Real>& state, int threads)
        : in_(input), state_(state), threads_(threads) {}

    void forward(Real delta, Real temperature, Real* loss) const {
        pool(delta);
        Real* log_all = state_.stats + 3 * in_.count;
        Real* log_positive = state_.stats + 6 * in_.count;
        info_nce(temperature).forward(log_all, log_positive);
        double total = 0;
        std::int64_t anchors = 0;
        for (std::int64_t i = 0; i < 2 * in_.count; ++i) {
            if (std::isinf(log_all[i])) continue;
            total += static_cast<double>(log_all[i] - log_positive[i]);
            ++anchors;
        }
        *state_.anchors = static_cast<Real>(std::max<std::int64_t>(1, anchors));
        *loss = static_cast<Real>(total / static_cast<double>(*state_.anchors));
    }

    /// grad_features (batch, frames, channels), grad_mu and grad_sigma (classes, 3); null where not needed.
    void backward(Real grad, Real temperature, Real* grad_features, Real* grad_mu, Real* grad_sigma) const {
        std::vector<Real> vectors(static_cast<std::size_t>(3 * in_.count * in_.channels));
        info_nce(temperature).backward(state_.stats + 3 * in_.count, state_.stats + 6 * in_.count, vectors.data());
        const Real factor = grad / (temperature * *state_.anchors);
        parallel_for(3 * in_.count, 256, threads_, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i) through_length(i, factor, vectors.data());
        });
        if (grad_features != nullptr)
            parallel_for(in_.batch * in_.frames, 64, threads_, [&](std::int64_t begin, std::int64_t end) {
                for (std::int64_t at = begin; at < end; ++at) frame_gradient(at, vectors.data(), grad_features);
            });
        if (grad_mu != nullptr) gaussian_gradients(vectors.data(), grad_mu, grad_sigma);
    }

  private:
    InfoNce<Real> info_nce(Real temperature) const {
        std::vector<std::int64_t> labels(static_cast<std::size_t>(3 * in_.count));
        for (std::int64_t i = 0; i < 3 * in_.count; ++i) {
            const std::int64_t g = i % in_.count;
            labels[static_cast<std::size_t>(i)] =
                state_.ranges[g].label(static_cast<int>(i / in_.count), in_.labels[g]);
        }
        return InfoNce<Real>(state_.vectors, in_.channels, std::move(labels), 2 * in_.count, temperature, threads_);
    }

    Pooling<Real> pooling(std::int64_t g) const {
        Pooling<Real> out;
        const Real* segment = in_.segments + 2 * g;
        out.set(state_.ranges[g], segment[0], segment[1], in_.mu + 3 * in_.labels[g], in_.sigma + 3 * in_.labels[g]);
        return out;
    }

    const Real* frame(std::int64_t at, Real* scratch) const {
        return view_or_load(in_.features, at * in_.channels, in_.channels, scratch);
    }

    void pool(Real delta) const {
        std::vector<std::int64_t> last(static_cast<std::size_t>(in_.batch)), video(static_cast<std::size_t>(in_.count));
        for (std::int64_t b = 0; b < in_.batch; ++b) {
            const std::uint8_t* mask = in_.mask + b * in_.frames;
            last[static_cast<std::size_t>(b)] = std::count(mask, mask + in_.frames, std::uint8_t{1}) - 1;
            std::fill(video.begin() + in_.video_offsets[b], video.begin() + in_.video_offsets[b + 1], b);
        }
        parallel_for(in_.count, 4, threads_, [&](std::int64_t begin, std::int64_t end) {
            std::vector<Real> scratch(static_cast<std::size_t>(in_.channels));
            for (std::int64_t g = begin; g < end; ++g) {
                const std::int64_t b = video[static_cast<std::size_t>(g)];
                const Real* segment = in_.segments + 2 * g;
                state_.ranges[g] = instance_frames(segment[0], segment[1], in_.mu + 3 * in_.labels[g], delta, b,
                                                   last[static_cast<std::size_t>(b)]);
                pool_instance(g, scratch.data());
            }
        });
    }

    void pool_instance(std::int64_t g, Real* scratch) const {
        const Pooling<Real> how = pooling(g);
        Real* vectors[3];
        for (int kind = 0; kind < 3; ++kind) {
            vectors[kind] = state_.vectors + (kind * in_.count + g) * in_.channels;
            std::fill_n(vectors[kind], in_.channels, Real(0));
        }
        const FrameRange hull = how.frames.hull(true);
        for (std::int64_t t = hull.first; t <= hull.last; ++t) {
            const std::int64_t at = how.frames.video * in_.frames + t;
            if (in_.mask[at] == 0 || how.share_of(0, t) + how.share_of(1, t) + how.share_of(2, t) == 0) continue;
            const FrameShare<Real> share = how.at(t);
            const Real* x = frame(at, scratch);
            for (int kind = 0; kind < 3; ++kind)
                if (how.share_of(kind, t) > 0)
                    simd_call<AddScaled<Real>>(simd_level(), vectors[kind], x, share.weight[kind], in_.channels);
        }
        for (int kind = 0; kind < 3; ++kind) {
            Real squared;
            simd_call<Dot<Real>>(simd_level(), static_cast<const Real*>(vectors[kind]),
                                 static_cast<const Real*>(vectors[kind]), in_.channels, &squared);
            const Real inverse = inverse_length(squared);
            for (std::int64_t d = 0; d < in_.channels; ++d) vectors[kind][d] *= inverse;
            state_.stats[kind * in_.count + g] = inverse;
        }
    }

    void through_length(std::int64_t i, Real factor, Real* vectors) const {
        Real* grad = vectors + i * in_.channels;
        const Real* unit = state_.vectors + i * in_.channels;
        Real along;
        simd_call<Dot<Real>>(simd_level(), static_cast<const Real*>(grad), unit, in_.channels, &along);
        const Real scale = state_.stats[i] * factor;
        for (std::int64_t d = 0; d < in_.channels; ++d) grad[d] = scale * (grad[d] - along * unit[d]);
    }

    void frame_gradient(std::int64_t at, const Real* vectors, Real* grad_features) const {
        Real* grad = grad_features + at * in_.channels;
        std::fill_n(grad, in_.channels, Real(0));
        if (in_.mask[at] == 0) return;
        const std::int64_t video = at / in_.frames, t = at % in_.frames;
        for (std::int64_t g = in_.video_offsets[video]; g < in_.video_offsets[video + 1]; ++g) {
            if (!state_.ranges[g].hull(true).has(t)) continue;
            const Pooling<Real> how = pooling(g);
            const FrameShare<Real> share = how.at(t);
            for (int kind = 0; kind < 3; ++kind)
                if (how.share_of(kind, t) > 0)
                    simd_call<AddScaled<Real>>(simd_level(), grad, vectors + (kind * in_.count + g) * in_.channels,
                                               share.weight[kind], in_.channels);
        }
    }

    void gaussian_gradients(const Real* vectors, Real* grad_mu, Real* grad_sigma) const {
        std::vector<Real> each(static_cast<std::size_t>(6 * in_.count));  // per instance: d mu, d sigma
        parallel_for(in_.count, 4, threads_, [&](std::int64_t begin, std::int64_t end) {
            std::vector<Real> scratch(static_cast<std::size_t>(in_.channels));
            for (std::int64_t g = begin; g < end; ++g)
                instance_gradient(g, vectors, scratch.data(), each.data() + 6 * g);
        });
        std::fill_n(grad_mu, 3 * in_.classes, Real(0));
        std::fill_n(grad_sigma, 3 * in_.classes, Real(0));
        for (std::int64_t g = 0; g < in_.count; ++g)
            for (int kind = 0; kind < 3; ++kind) {
                grad_mu[3 * in_.labels[g] + kind] += each[static_cast<std::size_t>(6 * g + kind)];
                grad_sigma[3 * in_.labels[g] + kind] += each[static_cast<std::size_t>(6 * g + 3 + kind)];
            }
    }

    void instance_gradient(std::int64_t g, const Real* vectors, Real* scratch, Real* out) const {
        const Pooling<Real> how = pooling(g);
        const FrameRange hull = how.frames.hull(false);
        std::fill_n(out, 6, Real(0));
        for (std::int64_t t = hull.first; t <= hull.last; ++t) {
            const std::int64_t at = how.frames.video * in_.frames + t;
            if (in_.mask[at] == 0 || how.share_of(0, t) + how.share_of(1, t) == 0) continue;
            const FrameShare<Real> share = how.at(t);
            const Real* x = frame(at, scratch);
            Real along[2] = {};
            for (int kind = 0; kind < 2; ++kind)
                if (how.share_of(kind, t) > 0)
                    simd_call<Dot<Real>>(simd_level(), vectors + (kind * in_.count + g) * in_.channels, x, in_.channels,
                                         along + kind);
            for (int kind = 0; kind < 3; ++kind) {
                const int vector = kind == 0 ? 0 : 1;
                const Real slope =
                    along[vector] * how.share_of(vector, t) * share.p[kind] * share.z[kind] / how.sigma[kind];
                out[kind] += slope;
                out[3 + kind] += slope * share.z[kind];
            }
        }
    }

    const ContrastiveInput<Real> in_;
    const ContrastiveState<Real> state_;
    const int threads_;
};

}  // namespace asl
