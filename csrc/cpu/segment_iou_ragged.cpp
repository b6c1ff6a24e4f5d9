// SPDX-License-Identifier: Apache-2.0
#include "cpu/segment_iou_ragged.h"

#include "bindings.h"
#include "cpu/buffers.h"

namespace py = pybind11;

namespace asl {
namespace {

/// An address of 0 means absent; without `pair_offsets` the gradients are computed.
struct Addresses {
    std::uintptr_t a = 0, b = 0, a_video_offsets = 0, b_video_offsets = 0;
    std::uintptr_t values = 0, pair_offsets = 0, grad = 0, grad_a = 0, grad_b = 0;
};

template <bool kDistance, class Real>
void run(const Addresses& at, std::int64_t videos, std::int64_t max_pairs, int threads) {
    const RaggedSegments<Real> segments{pointer<const Real>(at.a), pointer<const Real>(at.b),
                                        pointer<const std::int64_t>(at.a_video_offsets),
                                        pointer<const std::int64_t>(at.b_video_offsets), videos};
    const SegmentIouRagged<kDistance, Real> op(segments, threads);
    if (at.pair_offsets)
        op.forward(max_pairs, pointer<Real>(at.values), pointer<std::int64_t>(at.pair_offsets));
    else
        op.backward(pointer<const Real>(at.grad), pointer<Real>(at.grad_a), pointer<Real>(at.grad_b));
}

void dispatch(const Addresses& at, bool is_double, std::int64_t videos, std::int64_t max_pairs, bool distance,
              int threads) {
    const auto chosen = distance ? (is_double ? run<true, double> : run<true, float>)
                                 : (is_double ? run<false, double> : run<false, float>);
    const py::gil_scoped_release release;
    chosen(at, videos, max_pairs, threads);
}

const Binding binding([](py::module_& m) {
    m.def(
        "segment_iou_ragged",
        [](std::uintptr_t a, std::uintptr_t b, std::uintptr_t a_video_offsets, std::uintptr_t b_video_offsets,
           std::int64_t videos, std::int64_t max_pairs, bool is_double, bool distance, std::uintptr_t out_values,
           std::uintptr_t out_pair_offsets, int threads) {
            Addresses at;
            at.a = a, at.b = b, at.a_video_offsets = a_video_offsets, at.b_video_offsets = b_video_offsets;
            at.values = out_values, at.pair_offsets = out_pair_offsets;
            dispatch(at, is_double, videos, max_pairs, distance, threads);
        },
        py::kw_only(), py::arg("a"), py::arg("b"), py::arg("a_video_offsets"), py::arg("b_video_offsets"),
        py::arg("videos"), py::arg("max_pairs"), py::arg("is_double"), py::arg("distance"), py::arg("out_values"),
        py::arg("out_pair_offsets"), py::arg("threads"),
        "IoU or distance IoU of the pairs of each video; addresses of contiguous buffers, all float32 or all float64.");
    m.def(
        "segment_iou_ragged_backward",
        [](std::uintptr_t grad, std::uintptr_t a, std::uintptr_t b, std::uintptr_t a_video_offsets,
           std::uintptr_t b_video_offsets, std::int64_t videos, bool is_double, bool distance,
           std::uintptr_t out_grad_a, std::uintptr_t out_grad_b, int threads) {
            Addresses at;
            at.a = a, at.b = b, at.a_video_offsets = a_video_offsets, at.b_video_offsets = b_video_offsets;
            at.grad = grad, at.grad_a = out_grad_a, at.grad_b = out_grad_b;
            dispatch(at, is_double, videos, 0, distance, threads);
        },
        py::kw_only(), py::arg("grad"), py::arg("a"), py::arg("b"), py::arg("a_video_offsets"),
        py::arg("b_video_offsets"), py::arg("videos"), py::arg("is_double"), py::arg("distance"), py::arg("out_grad_a"),
        py::arg("out_grad_b"), py::arg("threads"),
        "Gradients of segment_iou_ragged; addresses of contiguous buffers, all float32 or all float64.");
});

}  // namespace
}  // namespace asl
