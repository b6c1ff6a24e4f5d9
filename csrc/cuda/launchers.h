// SPDX-License-Identifier: Apache-2.0
// What csrc/cuda/<op>.cu defines and csrc/cuda/module_cuda.cpp binds. Pointers and the stream are integers, as Python
// passes them. The two never meet in one file: nvcc takes ten times as long over a file that includes pybind11.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "common/dtype.h"

namespace asl::cuda {

struct Device {
    std::string name;
    int major;
    int minor;
    std::size_t memory_bytes;
    int multiprocessors;
};

/// Version of the CUDA runtime linked in, as 1000 * major + 10 * minor.
int runtime_version();

/// Devices the runtime sees; 0, not an exception, where there is no driver.
int device_count();

/// Why device_count() is 0, in the runtime's words; empty where a device is found.
std::string device_error();

/// Every device, in the runtime's order.
std::vector<Device> devices();

/// Blocks that have work, one a tile.
std::int64_t sensitivity_focal_loss_tiles(std::int64_t rows, std::int64_t classes);

/// Outputs whose address is 0 are not written; `parts` has a place for each block, `counter` is 0.
void sensitivity_focal_loss(View logits, View targets, std::uintptr_t ids, View weights, bool row_weights,
                            std::uintptr_t mask, std::uintptr_t kept, std::int64_t rows, std::int64_t classes,
                            double alpha, double gamma, double label_smoothing, int reduction, std::int64_t blocks,
                            View loss, std::uintptr_t parts, std::uintptr_t counter, View grad_logits,
                            View grad_weights, std::uintptr_t stream);

/// Likewise.
void diou_loss(View pred, View target, View weights, std::int64_t rows, int reduction, double eps, std::int64_t blocks,
               View loss, std::uintptr_t parts, std::uintptr_t counter, View grad_pred, View grad_target,
               View grad_weights, std::uintptr_t stream);

/// What both launches of soft-NMS take, as in NmsCandidates and NmsSelected of csrc/cuda/soft_nms_select.cuh.
struct NmsBuffers {
    std::uintptr_t segments, scores, labels, rows, starts;  // candidates in order
    std::uintptr_t positions, decayed, counts;              // selections
    std::int64_t count, videos;
};

/// Selects; `counts` must be 0 before. Scratch: current (N,) float32, best (N,) int64, seen (N,) int32.
/// Each of the blocks takes one video after the other.
void soft_nms_select(const NmsBuffers& buffers, std::uintptr_t current, std::uintptr_t best, std::uintptr_t seen,
                     int method, float sigma, float iou_threshold, float min_score, std::int64_t max_segments,
                     bool keep_best, std::int64_t blocks, std::uintptr_t stream);

/// Gathers the selections and lets them be voted on; `ends`: sums of `counts` up to and with each video.
void soft_nms_collect(const NmsBuffers& buffers, std::uintptr_t ends, float voting_threshold, std::int64_t rows,
                      std::uintptr_t indices, std::uintptr_t segments, std::uintptr_t scores, std::uintptr_t count,
                      std::uintptr_t stream);

/// A radius of 0 lets the whole segment claim; points and segments of any floating type.
void assign_points(View points, View segments, std::uintptr_t labels, std::uintptr_t offsets, std::int64_t num_points,
                   std::int64_t videos, std::int64_t classes, double radius, double tie_tolerance, bool is_double,
                   std::uintptr_t class_targets, std::uintptr_t regression, std::uintptr_t instance,
                   std::uintptr_t distance, std::uintptr_t stream);

/// n and m segments an entry; a_batch and b_batch from entry to entry, 0 where all share them. Aligned: one entry.
void segment_iou(View a, View b, std::int64_t n, std::int64_t m, std::int64_t a_batch, std::int64_t b_batch,
                 std::int64_t batch, bool aligned, bool distance, View out, std::uintptr_t stream);

/// Likewise; a gradient without elements is not written.
void segment_iou_backward(View grad, View a, View b, std::int64_t n, std::int64_t m, std::int64_t a_batch,
                          std::int64_t b_batch, std::int64_t batch, bool aligned, bool distance, bool is_double,
                          View grad_a, View grad_b, std::uintptr_t stream);

/// n, m: segments of all videos; offsets (videos + 1,) int64. Values of float32 or float64, `max_pairs` of them.
void segment_iou_ragged(View a, View b, std::uintptr_t a_offsets, std::uintptr_t b_offsets, std::int64_t n,
                        std::int64_t m, std::int64_t videos, std::int64_t max_pairs, bool distance, View values,
                        std::uintptr_t offsets, std::uintptr_t stream);

/// Likewise, of `max_pairs` gradients; a gradient without elements is not written.
void segment_iou_ragged_backward(View grad, View a, View b, std::uintptr_t a_offsets, std::uintptr_t b_offsets,
                                 std::uintptr_t offsets, std::int64_t n, std::int64_t m, std::int64_t videos,
                                 std::int64_t max_pairs, bool distance, bool is_double, View grad_a, View grad_b,
                                 std::uintptr_t stream);

/// What both passes of the contrastive loss take, contiguous; all but features, labels, offsets, mask and ranges in the
/// type that it computes in.
struct ContrastiveBuffers {
    View features;                                              // (batch, frames, channels)
    std::uintptr_t mask, segments, labels, offsets, mu, sigma;  // as the op takes them
    std::uintptr_t vectors, stats, ranges, anchors;             // as the op returns them
    std::int64_t batch, frames, channels, count, classes;
};

/// Numbers of scratch the forward pass needs, of the type that it computes in.
std::int64_t contrastive_similarity_parts(std::int64_t count, bool is_double);

/// total = base + weight * loss; `base` may be 0, there is an instance, `counter` is 0.
void contrastive_similarity_forward(const ContrastiveBuffers& buffers, double delta, double temperature,
                                    std::uintptr_t base, double weight, std::uintptr_t parts, std::uintptr_t counter,
                                    std::uintptr_t total, std::uintptr_t loss, std::uintptr_t stream);

/// Scratch: grad_vectors like the vectors, each (count, 6). Gradients of the Gaussians where `each` is not 0, of the
/// features where their address is not 0; grad_total or grad_loss at address 0 counts as 0.
void contrastive_similarity_backward(const ContrastiveBuffers& buffers, View grad_total, View grad_loss,
                                     double temperature, double weight, std::uintptr_t grad_vectors,
                                     std::uintptr_t each, std::uintptr_t counter, std::uintptr_t grad_features,
                                     View grad_mu, View grad_sigma, std::uintptr_t stream);

}  // namespace asl::cuda
