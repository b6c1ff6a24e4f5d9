// SPDX-License-Identifier: Apache-2.0
// IoU and distance IoU of all pairs of segments of the same video, for a batch of unequal videos, and the gradients.
//
// Each video is a matrix of pairs as in segment_iou.h, split into parts of its rows; threads take the parts of all
// videos one after the other. How a video is split depends on its sizes alone, and so does the order of every sum.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/segment_iou.h"

namespace asl {

template <class Real>
struct RaggedSegments {
    const Real *a, *b;                                      // (N, 2), (M, 2), all videos
    const std::int64_t *a_video_offsets, *b_video_offsets;  // (videos + 1,), rising from 0 to N and M
    std::int64_t videos;
};

template <bool kDistance, class Real>
class SegmentIouRagged {
  public:
    SegmentIouRagged(const RaggedSegments<Real>& segments, int threads) : in_(segments), b_(in_.b, b_count()) {
        std::int64_t pairs = 0;
        for (std::int64_t video = 0; video < in_.videos; ++video) {
            const std::int64_t n = in_.a_video_offsets[video + 1] - in_.a_video_offsets[video];
            const std::int64_t m = in_.b_video_offsets[video + 1] - in_.b_video_offsets[video], parts = parts_of(n, m);
            for (std::int64_t part = 0; part < parts; ++part)
                parts_.push_back({video, in_.a_video_offsets[video] + n * part / parts,
                                  n * (part + 1) / parts - n * part / parts, in_.b_video_offsets[video], m,
                                  pairs + n * part / parts * m});
            pairs += n * m;
        }
        pairs_ = pairs;
        const std::int64_t count = static_cast<std::int64_t>(parts_.size());
        grain_ = count * kPairsPerChunk / std::max<std::int64_t>(1, pairs);
        threads_ = worthwhile_threads(pairs, kPairsWorthAThread, threads);
    }

    /// values: (max_pairs,), 0 behind the last pair; pair_offsets: (videos + 1,), where each video's pairs begin and
    /// end.
    void forward(std::int64_t max_pairs, Real* values, std::int64_t* pair_offsets) const {
        each_part([&](const Part& part, std::vector<Real>&) {
            iou_rows<kDistance>(in_.a + 2 * part.row, part.rows, b_.starts.data() + part.column,
                                b_.ends.data() + part.column, part.columns, values + part.pair);
        });
        std::fill(values + pairs_, values + max_pairs, Real(0));
        pair_offsets[0] = 0;
        for (const Part& part : parts_) pair_offsets[part.video + 1] = part.pair + part.rows * part.columns;
    }

    /// grad as the values of forward; grad_a and grad_b as a and b, written whole.
    void backward(const Real* grad, Real* grad_a, Real* grad_b) const {
        std::vector<std::int64_t> places;
        std::int64_t size = 0;
        for (const Part& part : parts_) {
            places.push_back(size);
            size += 2 * part.columns;
        }
        std::vector<Real> partial(static_cast<std::size_t>(size));
        each_part([&](const Part& part, std::vector<Real>& scratch) {
            scratch.resize(static_cast<std::size_t>(2 * part.columns));
            iou_rows_backward<kDistance>(grad + part.pair, in_.a + 2 * part.row, part.rows,
                                         b_.starts.data() + part.column, b_.ends.data() + part.column, part.columns,
                                         grad_a + 2 * part.row, partial.data() + places[&part - parts_.data()],
                                         scratch.data());
        });
        for (std::size_t first = 0, last; first < parts_.size(); first = last) {
            for (last = first; last < parts_.size() && parts_[last].video == parts_[first].video;) ++last;
            add_up_parts(partial.data() + places[first], static_cast<std::int64_t>(last - first), parts_[first].columns,
                         grad_b + 2 * parts_[first].column);
        }
    }

  private:
    /// Some rows of a video's matrix of pairs: `rows` from `row` of a, all columns from `column` of b.
    struct Part {
        std::int64_t video, row, rows, column, columns, pair;
    };

    std::int64_t b_count() const { return in_.b_video_offsets[in_.videos]; }

    template <class Body>
    void each_part(const Body& body) const {
        parallel_for(static_cast<std::int64_t>(parts_.size()), grain_, threads_,
                     [&](std::int64_t begin, std::int64_t end) {
                         std::vector<Real> scratch;
                         for (std::int64_t i = begin; i < end; ++i) body(parts_[static_cast<std::size_t>(i)], scratch);
                     });
    }

    const RaggedSegments<Real> in_;
    const Boundaries<Real> b_;
    std::vector<Part> parts_;
    std::int64_t pairs_, grain_;
    int threads_;
};

}  // namespace asl
