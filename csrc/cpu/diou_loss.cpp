// SPDX-License-Identifier: Apache-2.0
#include "cpu/diou_loss.h"

#include "bindings.h"

namespace py = pybind11;

namespace asl {

namespace {

const Binding binding([](py::module_& m) {
    m.def(
        "diou_loss",
        [](View pred, View target, View weights, std::int64_t rows, int reduction, double eps, View out_loss,
           View out_grad_pred, View out_grad_target, View out_grad_weights, int threads) {
            const DiouInput input{Source(pred), Source(target), Source(weights), rows};
            const DiouOutput output{Sink(out_loss), Sink(out_grad_pred), Sink(out_grad_target), Sink(out_grad_weights)};
            const auto how = static_cast<Reduction>(reduction);
            py::gil_scoped_release release;
            if (output.loss.dtype == Dtype::kFloat64)
                DiouLoss<double>(input, how, eps, output).run(threads);
            else
                DiouLoss<float>(input, how, eps, output).run(threads);
        },
        py::arg("pred"), py::arg("target"), py::arg("weights"), py::arg("rows"), py::arg("reduction"), py::arg("eps"),
        py::arg("out_loss"), py::arg("out_grad_pred"), py::arg("out_grad_target"), py::arg("out_grad_weights"),
        py::arg("threads"),
        "DIoU loss and its derivatives; (address, dtype) of contiguous buffers, address 0: absent.");
});

}  // namespace
}  // namespace asl
