// SPDX-License-Identifier: Apache-2.0
#include "cpu/assign_points.h"

#include "bindings.h"
#include "cpu/buffers.h"

namespace py = pybind11;

namespace asl {
namespace {

struct Addresses {
    std::uintptr_t points, segments, labels, video_offsets, out_class_targets, out_offsets, out_instance, out_distance;
};

template <class Real>
void run(const Addresses& at, std::int64_t num_points, std::int64_t videos, std::int64_t classes, double radius,
         double tie_tolerance, int threads) {
    const AssignInput<Real> input{pointer<const GridPoint<Real>>(at.points),
                                  num_points,
                                  pointer<const Real>(at.segments),
                                  pointer<const std::int64_t>(at.labels),
                                  pointer<const std::int64_t>(at.video_offsets),
                                  videos,
                                  classes};
    const ClaimRule<Real> rule{static_cast<Real>(radius), radius <= 0.0, static_cast<Real>(tie_tolerance)};
    const AssignOutput<Real> output{pointer<Real>(at.out_class_targets), pointer<Real>(at.out_offsets),
                                    pointer<std::int64_t>(at.out_instance), pointer<Real>(at.out_distance)};
    assign_points(input, rule, output, threads);
}

const Binding binding([](py::module_& m) {
    m.def(
        "assign_points",
        [](std::uintptr_t points, std::uintptr_t segments, std::uintptr_t labels, std::uintptr_t video_offsets,
           bool is_double, std::int64_t num_points, std::int64_t videos, std::int64_t classes, double radius,
           double tie_tolerance, std::uintptr_t out_class_targets, std::uintptr_t out_offsets,
           std::uintptr_t out_instance, std::uintptr_t out_distance, int threads) {
            const Addresses at{points,      segments,     labels,      video_offsets, out_class_targets,
                               out_offsets, out_instance, out_distance};
            py::gil_scoped_release release;
            (is_double ? run<double> : run<float>)(at, num_points, videos, classes, radius, tie_tolerance, threads);
        },
        py::kw_only(), py::arg("points"), py::arg("segments"), py::arg("labels"), py::arg("video_offsets"),
        py::arg("is_double"), py::arg("num_points"), py::arg("videos"), py::arg("classes"), py::arg("radius"),
        py::arg("tie_tolerance"), py::arg("out_class_targets"), py::arg("out_offsets"), py::arg("out_instance"),
        py::arg("out_distance"), py::arg("threads"),
        "Point assignment; addresses of contiguous buffers. A radius of 0 lets the whole segment claim.");
});

}  // namespace
}  // namespace asl
