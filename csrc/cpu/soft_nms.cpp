// SPDX-License-Identifier: Apache-2.0
// Temporal soft-NMS over many videos in one call.
#include "cpu/soft_nms.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "cpu/parallel.h"
#include "soft_nms_bindings.h"

namespace py = pybind11;

namespace asl {
namespace {

/// First row of each video in `order`, and one past the last; fills `order` only where the videos are not contiguous.
std::vector<std::int64_t> video_offsets(const NmsInput& input, std::vector<std::int64_t>& order) {
    std::vector<std::int64_t> offsets{0};
    if (const std::int64_t* video = input.video_index) {
        if (!std::is_sorted(video, video + input.count)) {
            order.resize(static_cast<std::size_t>(input.count));
            std::iota(order.begin(), order.end(), std::int64_t{0});
            std::stable_sort(order.begin(), order.end(), [video](auto a, auto b) { return video[a] < video[b]; });
        }
        const auto at = [&](std::int64_t i) { return video[order.empty() ? i : order[static_cast<std::size_t>(i)]]; };
        for (std::int64_t i = 1; i < input.count; ++i)
            if (at(i) != at(i - 1)) offsets.push_back(i);
    }
    offsets.push_back(input.count);
    return offsets;
}

/// Rows kept over all videos, in output[0, result); the rows behind are padding: index -1, segment and score 0.
std::int64_t soft_nms(const NmsInput& input, const NmsOptions& options, const NmsOutput& output, std::int64_t rows,
                      int threads) {
    if (input.count > 0xFFFFFFFFll) throw std::invalid_argument("soft_nms: more than 2^32 - 1 candidates");
    std::int64_t total = 0;
    if (input.count > 0) {
        std::vector<std::int64_t> order;
        const std::vector<std::int64_t> offsets = video_offsets(input, order);
        const std::int64_t videos = static_cast<std::int64_t>(offsets.size()) - 1;
        std::vector<std::int64_t> kept(static_cast<std::size_t>(videos));
        std::vector<std::int64_t> places{0};  // where a video's rows go first, with room for the most it may keep
        for (std::int64_t v = 0; v < videos; ++v)
            places.push_back(places.back() + nms_limit(offsets[v + 1] - offsets[v], options));
        if (rows < places.back()) throw std::invalid_argument("soft_nms: the output buffers are too short");
        const std::int64_t candidates_per_chunk = 8192;
        const std::int64_t grain = std::max<std::int64_t>(1, candidates_per_chunk * videos / input.count);
        parallel_for(videos, grain, threads, [&](std::int64_t first, std::int64_t last) {
            SoftNms worker(input, options);
            for (std::int64_t v = first; v < last; ++v) {
                const std::int64_t base = offsets[v], place = places[v];
                kept[v] = worker.run(order.empty() ? nullptr : order.data() + base, base, offsets[v + 1] - base,
                                     {output.indices + place, output.segments + 2 * place, output.scores + place});
            }
        });
        for (std::int64_t v = 0; v < videos; ++v) {
            const std::int64_t place = places[v], n = kept[v];
            std::copy(output.indices + place, output.indices + place + n, output.indices + total);
            std::copy(output.segments + 2 * place, output.segments + 2 * (place + n), output.segments + 2 * total);
            std::copy(output.scores + place, output.scores + place + n, output.scores + total);
            total += n;
        }
    }
    std::fill(output.indices + total, output.indices + rows, -1);
    std::fill(output.segments + 2 * total, output.segments + 2 * rows, 0.0f);
    std::fill(output.scores + total, output.scores + rows, 0.0f);
    return total;
}

template <class T>
T* pointer(std::uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

const Binding binding([](py::module_& m) {
    bind_nms_options(m);
    m.def(
        "soft_nms",
        [](std::uintptr_t segments, std::uintptr_t scores, std::uintptr_t labels, std::uintptr_t video_index,
           std::int64_t count, const NmsOptions& options, std::uintptr_t out_indices, std::uintptr_t out_segments,
           std::uintptr_t out_scores, std::int64_t rows, int threads) {
            const NmsInput input{pointer<const float>(segments), pointer<const float>(scores),
                                 pointer<const std::int64_t>(labels), pointer<const std::int64_t>(video_index), count};
            const NmsOutput output{pointer<std::int64_t>(out_indices), pointer<float>(out_segments),
                                   pointer<float>(out_scores)};
            py::gil_scoped_release release;
            return soft_nms(input, options, output, rows, threads);
        },
        py::arg("segments"), py::arg("scores"), py::arg("labels"), py::arg("video_index"), py::arg("count"),
        py::arg("options"), py::arg("out_indices"), py::arg("out_segments"), py::arg("out_scores"), py::arg("rows"),
        py::arg("threads"),
        "Temporal soft-NMS; addresses of contiguous float32 and int64 buffers (0: absent). Returns the rows kept.");
});

}  // namespace
}  // namespace asl
