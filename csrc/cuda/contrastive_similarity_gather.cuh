// SPDX-License-Identifier: Apache-2.0
// From the gradients of the pooled vectors to the frames and to the Gaussians, in one launch.
//
// The first blocks take one instance each and leave what its Gaussians receive; the last of them sums the instances of
// every class in order. The other blocks own frames of one video and gather from its instances, in order too, so that
// nothing is added atomically. No GPU has run it yet.
#pragma once

#include <cstdint>

#include "cuda/contrastive_similarity_pool.cuh"

namespace asl::cuda {

constexpr int kFrames = 32, kFrameChannels = 128;                                // of a block
constexpr int kFramesOfThread = kFrames * kFrameChannels / kContrastiveThreads;  // of one channel
constexpr int kTogether = kContrastiveThreads / kFrames;  // instances whose weights wait at a time

/// Gradients of the Gaussians: six numbers an instance, summed by class into d mu and d sigma (classes, 3).
template <class Real>
struct GaussianGradients {
    Real* each;  // (count, 6): d mu, d sigma
    unsigned* counter;
    std::int64_t classes;
    Sink mu, sigma;
};

/// What instance `g` adds to d mu and d sigma of its class; a warp takes every kContrastiveWarps-th frame.
template <class T, class Real>
__device__ void instance_gradient(const T* features, const Instances<Real>& in, const Real* vectors, std::int64_t g,
                                  Real* out) {
    __shared__ Pooling<Real> how;
    __shared__ Real sums[kContrastiveWarps][6];
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    if (thread == 0) how = in.pooling(g, in.ranges[g]);
    __syncthreads();
    const FrameRange hull = how.frames.hull(false);
    const std::int64_t first_frame = how.frames.video * in.frames;
    const Real *f_cls = vectors + g * in.channels, *f_loc = vectors + (in.room + g) * in.channels;
    Real own[6] = {};
    for (std::int32_t t = hull.first + warp; t <= hull.last; t += kContrastiveWarps) {
        const Real shares[2] = {how.share_of(0, t), how.share_of(1, t)};
        if (in.mask[first_frame + t] == 0 || shares[0] + shares[1] == 0) continue;  // the whole warp
        const T* x = features + (first_frame + t) * in.channels;
        Real along[2] = {};
        for (int channel = lane; channel < in.channels; channel += 32) {
            const Real value = as<Real>(x[channel]);
            along[0] += value * f_cls[channel];
            along[1] += value * f_loc[channel];
        }
        along[0] = warp_sum(along[0]) * shares[0];
        along[1] = warp_sum(along[1]) * shares[1];
        const FrameShare<Real> share = how.at(t);
        for (int kind = 0; kind < 3; ++kind) {
            const Real slope = along[kind == 0 ? 0 : 1] * share.p[kind] * share.z[kind] / how.sigma[kind];
            own[kind] += slope;
            own[3 + kind] += slope * share.z[kind];
        }
    }
    if (lane == 0)
        for (int k = 0; k < 6; ++k) sums[warp][k] = own[k];
    __syncthreads();
    if (thread >= 6) return;
    Real sum = 0;
    for (int from = 0; from < kContrastiveWarps; ++from) sum += sums[from][thread];
    out[thread] = sum;
}

/// Sums the instances of every class in order, a thread a class; kStaged instances at a time wait in shared memory.
template <class Real>
__device__ void class_gradients(const std::int64_t* labels, std::int64_t count, const GaussianGradients<Real>& to) {
    constexpr int kStaged = kContrastiveThreads / 2;
    __shared__ int staged_labels[kStaged];
    __shared__ Real staged[kStaged][6];
    const int thread = static_cast<int>(threadIdx.x);
    for (std::int64_t first_class = 0; first_class < to.classes; first_class += kContrastiveThreads) {
        const auto label = static_cast<int>(first_class + thread);
        Real sums[6] = {};
        for (std::int64_t first = 0; first < count; first += kStaged) {
            const int here = count - first < kStaged ? static_cast<int>(count - first) : kStaged;
            __syncthreads();  // the former instances may still be read
            if (thread < here) staged_labels[thread] = static_cast<int>(labels[first + thread]);
            for (int i = thread; i < 6 * here; i += kContrastiveThreads)
                staged[i / 6][i % 6] = __ldcg(to.each + 6 * first + i);
            __syncthreads();
            for (int i = 0; i < here; ++i) {
                if (staged_labels[i] != label) continue;
                for (int k = 0; k < 6; ++k) sums[k] += staged[i][k];
            }
        }
        if (label >= to.classes) continue;
        for (int k = 0; k < 3; ++k) {
            store(to.mu, 3 * static_cast<std::int64_t>(label) + k, sums[k]);
            store(to.sigma, 3 * static_cast<std::int64_t>(label) + k, sums[3 + k]);
        }
    }
}

/// Gradient of kFrames frames of a video in kFrameChannels channels. Every warp votes on 32 instances of the video at a
/// time, all alike; of those that look at the frames, the weights of kTogether wait in shared memory for their vectors.
template <class T, class Real>
__device__ void frame_gradient(const Instances<Real>& in, const Real* vectors, int block, T* out) {
    __shared__ Pack<Real, 4> weights[kTogether][3][kFrames / 4];
    const int thread = static_cast<int>(threadIdx.x);
    const int slices = (in.channels + kFrameChannels - 1) / kFrameChannels;
    const int tiles = static_cast<int>((in.frames + kFrames - 1) / kFrames);
    const int first_frame = block / slices % tiles * kFrames;
    const int channel = block % slices * kFrameChannels + thread % kFrameChannels;
    const int own_frame = thread / kFrameChannels * kFramesOfThread;
    const std::int64_t video = block / slices / tiles, end = in.video_offsets[video + 1];
    Real sums[kFramesOfThread] = {};
    for (std::int64_t begin = in.video_offsets[video]; begin < end; begin += 32) {
        const std::int64_t voter = begin + thread % 32;
        bool looks = false;
        if (voter < end) {
            const FrameRange hull = in.ranges[voter].hull(true);
            looks = hull.size() > 0 && hull.first < first_frame + kFrames && hull.last >= first_frame;
        }
        unsigned left = __ballot_sync(~0u, looks);
        while (left != 0) {
            unsigned own = left;
            for (int skipped = 0; skipped < thread / kFrames; ++skipped) own &= own - 1;
            if (own != 0) {
                const int column = thread % kFrames;
                const std::int64_t g = begin + __ffs(static_cast<int>(own)) - 1;
                const FrameShare<Real> share = in.pooling(g, in.ranges[g]).at(first_frame + column);
                for (int kind = 0; kind < 3; ++kind)
                    weights[thread / kFrames][kind][column / 4].values[column % 4] = share.weight[kind];
            }
            __syncthreads();
            for (int i = 0; i < kTogether && left != 0; ++i, left &= left - 1) {
                const std::int64_t g = begin + __ffs(static_cast<int>(left)) - 1;
                for (int kind = 0; kind < 3; ++kind) {
                    const Real value =
                        channel < in.channels ? vectors[(kind * in.room + g) * in.channels + channel] : Real(0);
                    for (int t = 0; t < kFramesOfThread; t += 4) {
                        const Pack<Real, 4> weight = weights[i][kind][(own_frame + t) / 4];
                        for (int k = 0; k < 4; ++k) sums[t + k] += weight.values[k] * value;
                    }
                }
            }
            __syncthreads();
        }
    }
    if (channel >= in.channels) return;
    for (int t = 0; t < kFramesOfThread; ++t) {
        if (first_frame + own_frame + t >= in.frames) break;
        const std::int64_t at = video * in.frames + first_frame + own_frame + t;
        out[at * in.channels + channel] = static_cast<T>(in.mask[at] != 0 ? sums[t] : Real(0));
    }
}

/// The first `instance_blocks` blocks (room, or 0 where not needed) are for the Gaussians, the others for the frames.
template <class T, class Real>
__global__ void __launch_bounds__(kContrastiveThreads, sizeof(Real) == sizeof(float) ? 3 : 2)
    gather_kernel(const T* features, Instances<Real> in, const Real* vectors, unsigned instance_blocks,
                  GaussianGradients<Real> gaussians, T* grad_features) {
    if (blockIdx.x >= instance_blocks)
        return frame_gradient(in, vectors, static_cast<int>(blockIdx.x - instance_blocks), grad_features);
    in.leave_out_padding();
    if (blockIdx.x < in.count)
        instance_gradient(features, in, vectors, blockIdx.x,
                          gaussians.each + 6 * static_cast<std::int64_t>(blockIdx.x));
    if (comes_last(gaussians.counter, instance_blocks)) class_gradients(in.labels, in.count, gaussians);
}

}  // namespace asl::cuda
