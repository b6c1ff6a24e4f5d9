// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <cstdint>
#include <limits>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "cpu/parallel.h"
#include "harness.h"

TEST(parallel_for_covers_every_item_once) {
    for (const std::int64_t count : {0, 1, 2, 7, 64, 1000}) {
        for (const std::int64_t grain : {-3, 0, 1, 3, 64, 5000}) {
            for (const int threads : {0, 1, 2, 5}) {
                std::vector<int> seen(static_cast<std::size_t>(count), 0);
                asl::parallel_for(count, grain, threads, [&](std::int64_t begin, std::int64_t end) {
                    CHECK(begin < end);
                    CHECK(end - begin <= (grain > 0 ? grain : 1));
                    for (std::int64_t i = begin; i < end; ++i) ++seen[static_cast<std::size_t>(i)];
                });
                for (const int times : seen) CHECK(times == 1);
            }
        }
    }
}

TEST(parallel_for_ignores_a_negative_count) {
    asl::parallel_for(-5, 1, 2, [](std::int64_t, std::int64_t) { CHECK(false); });
}

TEST(parallel_for_stays_on_the_caller_for_one_chunk_or_one_thread) {
    const auto caller = std::this_thread::get_id();
    asl::parallel_for(10, 10, 4, [&](std::int64_t, std::int64_t) { CHECK(std::this_thread::get_id() == caller); });
    asl::parallel_for(10, 1, 1, [&](std::int64_t, std::int64_t) { CHECK(std::this_thread::get_id() == caller); });
}

TEST(parallel_for_takes_a_grain_near_the_largest_integer) {
    int calls = 0;
    asl::parallel_for(3, std::numeric_limits<std::int64_t>::max(), 2, [&](std::int64_t begin, std::int64_t end) {
        CHECK(begin == 0 && end == 3);
        ++calls;
    });
    CHECK(calls == 1);
}

TEST(parallel_for_rethrows_and_stops) {
    for (const int threads : {1, 3}) {
        std::atomic<int> ran{0};
        std::string message;
        try {
            asl::parallel_for(100000, 1, threads, [&](std::int64_t begin, std::int64_t) {
                ++ran;
                if (begin == 5) throw std::runtime_error("five");
            });
        } catch (const std::runtime_error& error) {
            message = error.what();
        }
        CHECK(message == "five");
        CHECK(ran >= 6);
        CHECK(ran < 100000);
    }
}

TEST(parallel_for_nests) {
    std::atomic<int> total{0};
    asl::parallel_for(4, 1, 2, [&](std::int64_t, std::int64_t) {
        asl::parallel_for(8, 2, 2,
                          [&](std::int64_t begin, std::int64_t end) { total += static_cast<int>(end - begin); });
    });
    CHECK(total == 32);
}

TEST(default_threads_is_positive) { CHECK(asl::default_threads() >= 1); }
