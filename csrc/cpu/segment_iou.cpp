// SPDX-License-Identifier: Apache-2.0
#include "cpu/segment_iou.h"

#include "bindings.h"
#include "cpu/buffers.h"

namespace py = pybind11;

namespace asl {
namespace {

/// An address of 0 means absent; without `out` the gradients are computed.
struct Addresses {
    std::uintptr_t a = 0, b = 0, out = 0, grad = 0, grad_a = 0, grad_b = 0;
};

template <bool kDistance, class Real>
void run(const Addresses& at, std::int64_t batch, std::int64_t n, std::int64_t m, bool aligned, int threads) {
    const SegmentPairs<Real> pairs{pointer<const Real>(at.a), pointer<const Real>(at.b), batch, n, m};
    const SegmentIou<kDistance, Real> op(pairs, aligned, threads);
    if (at.out)
        op.forward(pointer<Real>(at.out));
    else
        op.backward(pointer<const Real>(at.grad), pointer<Real>(at.grad_a), pointer<Real>(at.grad_b));
}

void dispatch(const Addresses& at, bool is_double, std::int64_t batch, std::int64_t n, std::int64_t m, bool aligned,
              bool distance, int threads) {
    const auto chosen = distance ? (is_double ? run<true, double> : run<true, float>)
                                 : (is_double ? run<false, double> : run<false, float>);
    const py::gil_scoped_release release;
    chosen(at, batch, n, m, aligned, threads);
}

const Binding binding([](py::module_& m) {
    m.def(
        "segment_iou",
        [](std::uintptr_t a, std::uintptr_t b, std::uintptr_t out, bool is_double, std::int64_t batch, std::int64_t n,
           std::int64_t m, bool aligned, bool distance, int threads) {
            Addresses at;
            at.a = a, at.b = b, at.out = out;
            dispatch(at, is_double, batch, n, m, aligned, distance, threads);
        },
        py::kw_only(), py::arg("a"), py::arg("b"), py::arg("out"), py::arg("is_double"), py::arg("batch"), py::arg("n"),
        py::arg("m"), py::arg("aligned"), py::arg("distance"), py::arg("threads"),
        "IoU or distance IoU; addresses of contiguous buffers, all float32 or all float64.");
    m.def(
        "segment_iou_backward",
        [](std::uintptr_t grad, std::uintptr_t a, std::uintptr_t b, std::uintptr_t grad_a, std::uintptr_t grad_b,
           bool is_double, std::int64_t batch, std::int64_t n, std::int64_t m, bool aligned, bool distance,
           int threads) {
            Addresses at;
            at.a = a, at.b = b, at.grad = grad, at.grad_a = grad_a, at.grad_b = grad_b;
            dispatch(at, is_double, batch, n, m, aligned, distance, threads);
        },
        py::kw_only(), py::arg("grad"), py::arg("a"), py::arg("b"), py::arg("out_grad_a"), py::arg("out_grad_b"),
        py::arg("is_double"), py::arg("batch"), py::arg("n"), py::arg("m"), py::arg("aligned"), py::arg("distance"),
        py::arg("threads"), "Gradients of segment_iou; addresses of contiguous buffers, all float32 or all float64.");
});

}  // namespace
}  // namespace asl
