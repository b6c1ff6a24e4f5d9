// SPDX-License-Identifier: Apache-2.0
#include "cpu/sensitivity_focal_loss.h"

#include "bindings.h"

namespace py = pybind11;

namespace asl {
namespace {

const Binding binding([](py::module_& m) {
    m.def(
        "sensitivity_focal_loss",
        [](View logits, View targets, std::uintptr_t ids, View weights, bool row_weights, std::uintptr_t mask,
           std::int64_t rows, std::int64_t classes, double alpha, double gamma, double label_smoothing, int reduction,
           View out_loss, View out_grad_logits, View out_grad_weights, int threads) {
            const FocalInput input{Source(logits),
                                   Source(targets),
                                   pointer<const std::int64_t>(ids),
                                   Source(weights),
                                   row_weights,
                                   pointer<const std::uint8_t>(mask),
                                   rows,
                                   classes};
            const FocalOptions options{alpha, gamma, label_smoothing, static_cast<Reduction>(reduction)};
            const FocalOutput output{Sink(out_loss), Sink(out_grad_logits), Sink(out_grad_weights)};
            py::gil_scoped_release release;
            if (output.loss.dtype == Dtype::kFloat64)
                FocalLoss<double>(input, options, output).run(threads);
            else
                FocalLoss<float>(input, options, output).run(threads);
        },
        py::kw_only(), py::arg("logits"), py::arg("targets"), py::arg("ids"), py::arg("weights"),
        py::arg("row_weights"), py::arg("mask"), py::arg("rows"), py::arg("classes"), py::arg("alpha"),
        py::arg("gamma"), py::arg("label_smoothing"), py::arg("reduction"), py::arg("out_loss"),
        py::arg("out_grad_logits"), py::arg("out_grad_weights"), py::arg("threads"),
        "Focal loss and its derivatives; (address, dtype) of contiguous buffers, address 0: absent.");
});

}  // namespace
}  // namespace asl
