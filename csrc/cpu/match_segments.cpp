// SPDX-License-Identifier: Apache-2.0
// Matching of detections to annotations for the evaluators. Each thread owns every num_shares-th (class, video) group
// and reads past the others: no list of group members, no lock, and the same result for any number of threads.
#include "common/match_segments.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "bindings.h"
#include "cpu/parallel.h"

namespace py = pybind11;

namespace asl {
namespace {

constexpr std::int64_t kWorthAThread = 16384;  // predictions

void match_segments(const MatchInput& input, const MatchRule& rule, std::int64_t num_groups, const MatchOutput& output,
                    int threads) {
    const std::int64_t wanted = threads > 0 ? threads : default_threads();
    const std::int64_t shares = std::max<std::int64_t>(1, std::min(wanted, input.count / kWorthAThread));
    std::vector<std::uint8_t> taken(static_cast<std::size_t>(input.group_offsets[num_groups] * input.num_thresholds));
    parallel_for(shares, 1, static_cast<int>(shares), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t share = begin; share < end; ++share)
            SegmentMatcher(input, rule).run(share, shares, taken, output);
    });
}

template <class T>
T* pointer(std::uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

const Binding binding([](py::module_& m) {
    m.def(
        "match_segments",
        [](std::uintptr_t predictions, std::uintptr_t group, std::int64_t count, std::uintptr_t annotations,
           std::uintptr_t group_offsets, std::int64_t num_groups, std::uintptr_t thresholds,
           std::int64_t num_thresholds, double union_floor, bool empty_union_matches, bool last_wins,
           std::uintptr_t out_matched, std::uintptr_t out_tied, int threads) {
            const MatchInput input{pointer<const double>(predictions),
                                   pointer<const std::int64_t>(group),
                                   count,
                                   pointer<const double>(annotations),
                                   pointer<const std::int64_t>(group_offsets),
                                   pointer<const double>(thresholds),
                                   num_thresholds};
            const MatchRule rule{union_floor, empty_union_matches, last_wins};
            const MatchOutput output{pointer<std::int32_t>(out_matched), pointer<std::uint8_t>(out_tied)};
            py::gil_scoped_release release;
            match_segments(input, rule, num_groups, output, threads);
        },
        py::arg("predictions"), py::arg("group"), py::arg("count"), py::arg("annotations"), py::arg("group_offsets"),
        py::arg("num_groups"), py::arg("thresholds"), py::arg("num_thresholds"), py::arg("union_floor"),
        py::arg("empty_union_matches"), py::arg("last_wins"), py::arg("out_matched"), py::arg("out_tied"),
        py::arg("threads"),
        "Greedy matching of detections to annotations; addresses of contiguous float64 and int64 buffers.");
});

}  // namespace
}  // namespace asl
