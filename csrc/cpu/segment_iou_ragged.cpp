// SPDX-License-Identifier: Apache-2.0
#include "cpu/segment_iou_ragged.h"

#include "bindings.h"
#include "cpu/buffers.h"

namespace py = pybind11;

namespace asl {
namespace {

struct Addresses {
    std::uintptr_t a, b, a_offsets, b_offsets, values, offsets, grad, grad_a, grad_b;
};

template <bool kDistance, class Real>
void run(const Addresses& at, std::int64_t videos, std::int64_t max_pairs, int threads) {
    const RaggedSegments<Real> segments{pointer<const Real>(at.a), pointer<const Real>(at.b),
                                        pointer<const std::int64_t>(at.a_offsets),
                                        pointer<const std::int64_t>(at.b_offsets), videos};
    const SegmentIouRagged<kDistance, Real> op(segments, threads);
    if (at.offsets)
        op.forward(max_pairs, pointer<Real>(at.values), pointer<std::int64_t>(at.offsets));
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
        [](std::uintptr_t a, std::uintptr_t b, std::uintptr_t a_offsets, std::uintptr_t b_offsets, std::int64_t videos,
           std::uintptr_t values, std::uintptr_t offsets, std::int64_t max_pairs, bool is_double, bool distance,
           int threads) {
            dispatch({a, b, a_offsets, b_offsets, values, offsets, 0, 0, 0}, is_double, videos, max_pairs, distance,
                     threads);
        },
        py::arg("a"), py::arg("b"), py::arg("a_offsets"), py::arg("b_offsets"), py::arg("videos"), py::arg("values"),
        py::arg("offsets"), py::arg("max_pairs"), py::arg("is_double"), py::arg("distance"), py::arg("threads"),
        "IoU or distance IoU of the pairs of each video; addresses of contiguous buffers, all float32 or all float64.");
    m.def(
        "segment_iou_ragged_backward",
        [](std::uintptr_t grad, std::uintptr_t a, std::uintptr_t b, std::uintptr_t a_offsets, std::uintptr_t b_offsets,
           std::int64_t videos, std::uintptr_t grad_a, std::uintptr_t grad_b, bool is_double, bool distance,
           int threads) {
            dispatch({a, b, a_offsets, b_offsets, 0, 0, grad, grad_a, grad_b}, is_double, videos, 0, distance, threads);
        },
        py::arg("grad"), py::arg("a"), py::arg("b"), py::arg("a_offsets"), py::arg("b_offsets"), py::arg("videos"),
        py::arg("grad_a"), py::arg("grad_b"), py::arg("is_double"), py::arg("distance"), py::arg("threads"),
        "Gradients of segment_iou_ragged; addresses of contiguous buffers, all float32 or all float64.");
});

}  // namespace
}  // namespace asl
