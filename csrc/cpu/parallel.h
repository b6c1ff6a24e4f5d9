// SPDX-License-Identifier: Apache-2.0
// Splitting a range over threads. Threads live for one call: no pool survives into a forked data-loader worker.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace asl {

/// Threads used when a caller gives 0: the processors this process may run on, at least one.
inline int default_threads() { return static_cast<int>(std::max(1u, std::thread::hardware_concurrency())); }

/// Calls body(begin, end) on disjoint chunks of at most `grain` items that together cover [0, count).
///
/// `threads` <= 0 means default_threads(). Chunks are handed out in order, to whichever thread is free, so body must
/// not rely on which thread runs it. One chunk or one thread runs on the caller with no thread started. The first
/// exception thrown by body stops the handing out and is rethrown here after every thread has ended.
template <class Body>
void parallel_for(std::int64_t count, std::int64_t grain, int threads, const Body& body) {
    if (count <= 0) return;
    grain = std::max<std::int64_t>(1, grain);
    const std::int64_t chunks = count / grain + (count % grain != 0);
    const std::int64_t workers = std::min<std::int64_t>(threads > 0 ? threads : default_threads(), chunks);
    if (workers <= 1) {
        for (std::int64_t begin = 0; begin < count; begin += std::min(grain, count - begin))
            body(begin, begin + std::min(grain, count - begin));
        return;
    }
    std::atomic<std::int64_t> next{0};
    std::exception_ptr error;
    std::mutex error_lock;
    const auto work = [&] {
        for (std::int64_t chunk = next++; chunk < chunks; chunk = next++) {
            const std::int64_t begin = chunk * grain;
            try {
                body(begin, begin + std::min(grain, count - begin));
            } catch (...) {
                const std::lock_guard<std::mutex> guard(error_lock);
                if (!error) error = std::current_exception();
                next = chunks;
            }
        }
    };
    std::vector<std::thread> started;
    started.reserve(static_cast<std::size_t>(workers - 1));
    try {
        for (std::int64_t i = 1; i < workers; ++i) started.emplace_back(work);
    } catch (const std::system_error&) {
        // The system refused another thread: the ones that started and the caller do all the work.
    }
    work();
    for (std::thread& thread : started) thread.join();
    if (error) std::rethrow_exception(error);
}

}  // namespace asl
