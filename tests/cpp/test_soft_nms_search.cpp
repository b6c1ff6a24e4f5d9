// SPDX-License-Identifier: Apache-2.0
// The lazy search against the sequential algorithm, bit for bit, on random candidates.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "cpu/soft_nms.h"
#include "harness.h"

namespace {

struct Scene {
    std::vector<float> segments, scores;
    std::vector<std::int64_t> labels;

    std::int64_t size() const { return static_cast<std::int64_t>(scores.size()); }
};

struct Kept {
    std::vector<std::int64_t> indices;
    std::vector<float> scores;

    bool operator==(const Kept& other) const { return indices == other.indices && scores == other.scores; }
};

/// Boundaries and scores from a grid where `coarse`, so that ties and segments without length are common.
Scene random_scene(std::mt19937& random, int count, bool coarse) {
    Scene scene;
    std::uniform_real_distribution<float> uniform(0.0f, 1.0f);
    const auto draw = [&](float scale, float step) {
        const float x = scale * uniform(random);
        return coarse ? std::floor(x / step) * step : x;
    };
    for (int i = 0; i < count; ++i) {
        const float start = draw(20.0f, 0.5f) - 5.0f;
        scene.segments.push_back(start);
        scene.segments.push_back(start + draw(6.0f, 0.5f) - 0.5f);
        scene.scores.push_back(draw(1.0f, 0.125f));
        scene.labels.push_back(static_cast<std::int64_t>(random() % 3) - 1);
    }
    return scene;
}

/// Select the best, decay all others of its class, drop those that fall below min_score, repeat.
Kept sequential(const Scene& scene, const asl::NmsOptions& options) {
    Kept kept;
    std::vector<float> now = scene.scores;
    std::vector<bool> out(now.size());
    for (std::size_t i = 0; i < now.size(); ++i) out[i] = !(now[i] >= options.min_score);
    for (;;) {
        std::int64_t best = -1;
        for (std::int64_t i = 0; i < scene.size(); ++i)
            if (!out[i] && (best < 0 || now[i] > now[best])) best = i;
        const auto count = static_cast<std::int64_t>(kept.indices.size());
        if (best < 0 || (options.max_segments > 0 && count == options.max_segments)) return kept;
        kept.indices.push_back(best);
        kept.scores.push_back(now[best]);
        out[best] = true;
        const float from = scene.segments[2 * best], to = scene.segments[2 * best + 1];
        for (std::int64_t i = 0; i < scene.size(); ++i) {
            if (out[i] || scene.labels[i] != scene.labels[best]) continue;
            const float start = scene.segments[2 * i], end = scene.segments[2 * i + 1];
            const float inter = std::min(to, end) - std::max(from, start);
            if (!(inter > 0.0f)) continue;
            const float factor = asl::nms_decay(inter, asl::nms_area(from, to), asl::nms_area(start, end), options);
            now[i] *= factor;
            out[i] = factor < 0.0f || !(now[i] >= options.min_score);
        }
    }
}

/// The operator on one video, between guard bands that must survive.
Kept searched(const Scene& scene, const asl::NmsOptions& options) {
    const asl::NmsInput input{scene.segments.data(), scene.scores.data(), scene.labels.data(), nullptr, scene.size()};
    const std::int64_t rows = asl::nms_limit(scene.size(), options);
    std::vector<std::int64_t> indices(static_cast<std::size_t>(rows) + 2, -7);
    std::vector<float> segments(2 * indices.size(), -7.0f), scores(indices.size(), -7.0f);
    asl::SoftNms search(input, options);
    const std::int64_t count =
        search.run(nullptr, 0, scene.size(), {indices.data() + 1, segments.data() + 2, scores.data() + 1});
    CHECK(indices.front() == -7 && segments[0] == -7.0f && segments[1] == -7.0f && scores.front() == -7.0f);
    CHECK(indices.back() == -7 && segments[segments.size() - 2] == -7.0f && scores.back() == -7.0f);
    return {{indices.begin() + 1, indices.begin() + 1 + count}, {scores.begin() + 1, scores.begin() + 1 + count}};
}

}  // namespace

TEST(lazy_search_gives_the_bits_of_the_sequential_algorithm) {
    std::mt19937 random(7);
    std::size_t selections = 0;
    for (int round = 0; round < 600; ++round) {
        const Scene scene = random_scene(random, static_cast<int>(random() % 120) + 1, round % 2 == 0);
        const float sigmas[] = {0.5f, 0.9f, 1e-3f, 1e3f, 1e-30f};
        const float min_scores[] = {0.0f, 0.001f, 0.05f};
        const std::int64_t limits[] = {0, 1, 10, 200};
        const asl::NmsOptions options{static_cast<asl::NmsMethod>(round % 3),
                                      sigmas[random() % 5],
                                      random() % 2 ? 0.1f : 0.5f,
                                      min_scores[random() % 3],
                                      limits[random() % 4],
                                      0.0f,
                                      false};
        const Kept expected = sequential(scene, options);
        CHECK(searched(scene, options) == expected);
        selections += expected.indices.size();
    }
    CHECK(selections > 5000);
}

TEST(search_stays_in_bounds_on_what_is_not_a_number) {
    const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
    const float strange[] = {nan, infinity, -infinity, 0.0f, -0.0f, 1e38f, -1e38f, 1e-45f, 0.5f};
    std::mt19937 random(11);
    for (int round = 0; round < 300; ++round) {
        Scene scene = random_scene(random, 40, false);
        for (float& x : scene.segments)
            if (random() % 3 == 0) x = strange[random() % 9];
        for (float& x : scene.scores)
            if (random() % 4 == 0) x = strange[random() % 9];
        const asl::NmsOptions options{
            static_cast<asl::NmsMethod>(round % 3), 0.5f, 0.3f, 0.001f, 20, round % 2 ? 0.5f : 0.0f, true};
        const Kept kept = searched(scene, options);
        CHECK(kept.indices.size() <= 20);
        for (const std::int64_t index : kept.indices) {
            CHECK(index >= 0 && index < scene.size());
            CHECK(scene.scores[static_cast<std::size_t>(index)] == scene.scores[static_cast<std::size_t>(index)]);
        }
    }
}

TEST(bound_is_never_below_the_exact_score) {
    std::mt19937 random(13);
    std::uniform_real_distribution<float> uniform(0.0f, 1.0f);
    for (int round = 0; round < 2000; ++round) {
        const asl::NmsOptions rule{asl::NmsMethod::kGaussian, round % 2 ? 0.5f : 1e-2f, 0.1f, 0.0f};
        asl::Selected selected;
        const int count = static_cast<int>(random() % 80);
        for (int i = 0; i < count; ++i) {
            const float start = 10.0f * uniform(random);
            selected.add(start, start + 0.01f + 5.0f * uniform(random));
        }
        const float start = 10.0f * uniform(random), end = start + 0.01f + 5.0f * uniform(random);
        const float exact = selected.decayed(0.9f, start, end, 0, rule);
        const float bound = selected.bound(0.9f, start, end, 0, rule);
        CHECK(bound >= exact);
        CHECK(bound <= exact * 1.001f + 1e-36f);
    }
}
