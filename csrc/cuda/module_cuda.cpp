// SPDX-License-Identifier: Apache-2.0
// The module asl_fast._native_cuda: what devices there are, and one m.def per launcher of csrc/cuda.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "cuda/launchers.h"

namespace py = pybind11;

namespace {

py::list devices() {
    py::list found;
    for (const asl::cuda::Device& device : asl::cuda::devices()) {
        py::dict entry;
        entry["name"] = device.name;
        entry["capability"] = py::make_tuple(device.major, device.minor);
        entry["memory_bytes"] = device.memory_bytes;
        entry["multiprocessors"] = device.multiprocessors;
        found.append(entry);
    }
    return found;
}

}  // namespace

#if !defined(ASL_CUDA_MODULE)
#define ASL_CUDA_MODULE _native_cuda
#endif

PYBIND11_MODULE(ASL_CUDA_MODULE, m, py::mod_gil_not_used()) {
    m.doc() = "Compiled CUDA operators of asl_fast; called through asl_fast.ops, which checks the arguments.";
    m.attr("runtime_version") = asl::cuda::runtime_version();
    m.attr("architectures") = ASL_CUDA_ARCHS;
    m.def("device_count", &asl::cuda::device_count, "CUDA devices this process can use; 0 where there is no driver.");
    m.def("device_error", &asl::cuda::device_error, "Why there is no device; empty where there is one.");
    m.def("devices", &devices, "Name, compute capability and memory of every device.");
    m.def("sensitivity_focal_loss_tiles", &asl::cuda::sensitivity_focal_loss_tiles, "Blocks that have work.");
    m.def("sensitivity_focal_loss", &asl::cuda::sensitivity_focal_loss, py::arg("logits"), py::arg("targets"),
          py::arg("ids"), py::arg("weights"), py::arg("row_weights"), py::arg("mask"), py::arg("kept"), py::arg("rows"),
          py::arg("classes"), py::arg("alpha"), py::arg("gamma"), py::arg("label_smoothing"), py::arg("reduction"),
          py::arg("blocks"), py::arg("out_loss"), py::arg("parts"), py::arg("counter"), py::arg("out_grad_logits"),
          py::arg("out_grad_weights"), py::arg("stream"), "Focal loss and its derivatives, queued on the stream.");
    m.def("diou_loss", &asl::cuda::diou_loss, py::arg("pred"), py::arg("target"), py::arg("weights"), py::arg("rows"),
          py::arg("reduction"), py::arg("eps"), py::arg("blocks"), py::arg("out_loss"), py::arg("parts"),
          py::arg("counter"), py::arg("out_grad_pred"), py::arg("out_grad_target"), py::arg("out_grad_weights"),
          py::arg("stream"), "DIoU loss and its derivatives, queued on the stream.");
    using asl::cuda::NmsBuffers;
    // Local: the tests load this file twice, as the CUDA module and over the stand-in for a GPU.
    py::class_<NmsBuffers>(m, "NmsBuffers", py::module_local(), "Addresses of candidates and selections of soft-NMS.")
        .def(py::init([](std::uintptr_t segments, std::uintptr_t scores, std::uintptr_t labels, std::uintptr_t rows,
                         std::uintptr_t starts, std::uintptr_t positions, std::uintptr_t decayed, std::uintptr_t counts,
                         std::int64_t count, std::int64_t videos) {
                 return NmsBuffers{segments, scores, labels, rows, starts, positions, decayed, counts, count, videos};
             }),
             py::kw_only(), py::arg("segments"), py::arg("scores"), py::arg("labels"), py::arg("rows"),
             py::arg("starts"), py::arg("positions"), py::arg("decayed"), py::arg("counts"), py::arg("count"),
             py::arg("videos"));
    m.def("soft_nms_select", &asl::cuda::soft_nms_select, "Soft-NMS: a block per video.");
    m.def("soft_nms_collect", &asl::cuda::soft_nms_collect, "The padded result of soft-NMS, with segment voting.");
    m.def("assign_points", &asl::cuda::assign_points, py::arg("points"), py::arg("segments"), py::arg("labels"),
          py::arg("offsets"), py::arg("num_points"), py::arg("videos"), py::arg("classes"), py::arg("radius"),
          py::arg("tie_tolerance"), py::arg("is_double"), py::arg("out_class_targets"), py::arg("out_offsets"),
          py::arg("out_instance"), py::arg("out_distance"), py::arg("stream"),
          "Point assignment of a ragged batch, queued on the stream.");
    m.def("segment_iou", &asl::cuda::segment_iou, py::arg("a"), py::arg("b"), py::arg("n"), py::arg("m"),
          py::arg("a_batch"), py::arg("b_batch"), py::arg("batch"), py::arg("aligned"), py::arg("distance"),
          py::arg("out"), py::arg("stream"), "IoU or distance IoU, queued on the stream.");
    m.def("segment_iou_backward", &asl::cuda::segment_iou_backward, py::arg("grad"), py::arg("a"), py::arg("b"),
          py::arg("n"), py::arg("m"), py::arg("a_batch"), py::arg("b_batch"), py::arg("batch"), py::arg("aligned"),
          py::arg("distance"), py::arg("is_double"), py::arg("out_grad_a"), py::arg("out_grad_b"), py::arg("stream"),
          "Gradients of segment_iou, queued on the stream.");
    m.def("segment_iou_ragged", &asl::cuda::segment_iou_ragged, py::arg("a"), py::arg("b"), py::arg("a_offsets"),
          py::arg("b_offsets"), py::arg("n"), py::arg("m"), py::arg("videos"), py::arg("max_pairs"),
          py::arg("distance"), py::arg("out_values"), py::arg("out_offsets"), py::arg("stream"),
          "IoU or distance IoU of the pairs of each video, queued on the stream.");
    m.def("segment_iou_ragged_backward", &asl::cuda::segment_iou_ragged_backward, py::arg("grad"), py::arg("a"),
          py::arg("b"), py::arg("a_offsets"), py::arg("b_offsets"), py::arg("offsets"), py::arg("n"), py::arg("m"),
          py::arg("videos"), py::arg("max_pairs"), py::arg("distance"), py::arg("is_double"), py::arg("out_grad_a"),
          py::arg("out_grad_b"), py::arg("stream"), "Gradients of segment_iou_ragged, queued on the stream.");
    using asl::cuda::ContrastiveBuffers;
    py::class_<ContrastiveBuffers>(m, "ContrastiveBuffers", py::module_local(), "What the contrastive loss works on.")
        .def(
            py::init(
                [](asl::View features, const std::vector<std::uintptr_t>& at, const std::vector<std::int64_t>& sizes) {
                    return ContrastiveBuffers{features,    at.at(0),    at.at(1),    at.at(2),   at.at(3), at.at(4),
                                              at.at(5),    at.at(6),    at.at(7),    at.at(8),   at.at(9), sizes.at(0),
                                              sizes.at(1), sizes.at(2), sizes.at(3), sizes.at(4)};
                }),
            py::kw_only(), py::arg("features"), py::arg("at"), py::arg("sizes"),
            "`at`: mask, segments, labels, offsets, mu, sigma, vectors, stats, ranges, count; `sizes`: videos, frames, "
            "channels, instances, classes.");
    m.def("contrastive_similarity_parts", &asl::cuda::contrastive_similarity_parts, "Numbers of scratch.");
    m.def("contrastive_similarity_forward", &asl::cuda::contrastive_similarity_forward, py::arg("buffers"),
          py::arg("delta"), py::arg("temperature"), py::arg("base"), py::arg("weight"), py::arg("parts"),
          py::arg("counter"), py::arg("out_total"), py::arg("out_loss"), py::arg("stream"),
          "The contrastive loss, queued on the stream.");
    m.def("contrastive_similarity_backward", &asl::cuda::contrastive_similarity_backward, py::arg("buffers"),
          py::arg("grad_total"), py::arg("grad_loss"), py::arg("temperature"), py::arg("weight"),
          py::arg("grad_vectors"), py::arg("each"), py::arg("counter"), py::arg("out_grad_features"),
          py::arg("out_grad_mu"), py::arg("out_grad_sigma"), py::arg("stream"),
          "Gradients of the contrastive loss, queued on the stream.");
}
