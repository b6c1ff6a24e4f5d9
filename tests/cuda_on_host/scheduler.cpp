// SPDX-License-Identifier: Apache-2.0
#include "scheduler.h"

#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "fiber.h"
#include "shared_memory.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace cuda_on_host {
namespace {

enum class State { kReady, kAtBarrier, kInWarp, kLeft };

struct Thread {
    Fiber fiber;
    uint3 index;
    unsigned number;
    State state;
    Site site;
    unsigned mask;
    Meeting seen;  // of its last meeting
};

struct Launch {
    std::vector<Thread> threads;
    const std::function<void()>* body;
    Site barrier;
    unsigned arrived, left;
    int count;  // of true predicates
    Votes votes;
    std::string error;
};

constexpr unsigned char kPoison = 0xFF;

/// Kernel; blocks in x, y and z, and threads of a block; dynamic shared memory; its parameters as a device gets them.
using Watcher = void (*)(const void* kernel, const unsigned sizes[4], std::size_t shared_bytes,
                         const unsigned char* parameters, std::size_t bytes);

std::mutex one_launch;  // the state below belongs to whoever holds it
Stacks stacks;
Launch launch_state;
Thread* current = nullptr;
std::unique_ptr<unsigned char[]> shared;
std::uint64_t order_seed = 1;
std::uint64_t launches = 0;
Watcher watcher = nullptr;

/// 0 .. count - 1 in an order that `draw` picks.
class Order {
  public:
    Order(std::uint64_t count, std::uint64_t draw) : count_(count) {
        draw = (draw + order_seed * 0x9E3779B97F4A7C15u) * 0xBF58476D1CE4E5B9u;
        draw ^= draw >> 29;
        start_ = draw % count;
        step_ = (draw >> 20) % count;
        while (std::gcd(step_, count) != 1) step_ = (step_ + 1) % count;
        if (order_seed == 0) start_ = 0, step_ = 1;
    }
    std::uint64_t operator[](std::uint64_t turn) const { return count_ == 1 ? 0 : (start_ + turn * step_) % count_; }

  private:
    std::uint64_t count_, start_, step_ = 1;
};

std::string at(const Site& site) {
    const char* name = std::strrchr(site.file, '/');
    return std::string(site.what) + " (" + (name ? name + 1 : site.file) + ":" + std::to_string(site.line) + ")";
}

std::string triple(unsigned x, unsigned y, unsigned z) {
    return "(" + std::to_string(x) + ", " + std::to_string(y) + ", " + std::to_string(z) + ")";
}

void enter(void* argument) {
    auto& thread = *static_cast<Thread*>(argument);
    (*launch_state.body)();
    thread.state = State::kLeft;
    ++launch_state.left;
    thread.fiber.leave();
}

/// Lanes of the warp of `thread` that are named by its mask and have not left.
unsigned expected_lanes(const Thread& thread) {
    auto& threads = launch_state.threads;
    const std::size_t first = thread.number / 32 * 32;
    unsigned lanes = 0;
    for (std::size_t i = first; i < first + 32 && i < threads.size(); ++i)
        if (threads[i].state != State::kLeft) lanes |= 1u << (i - first);
    return lanes & thread.mask;
}

/// Lets the lanes go on that wait with the mask of `thread`, once all of them have come.
bool settle(Thread& thread) {
    auto& threads = launch_state.threads;
    const std::size_t first = thread.number / 32 * 32;
    const unsigned expected = expected_lanes(thread);
    for (int i = 0; i < 32; ++i) {
        if (!(expected >> i & 1u)) continue;
        const Thread& other = threads[first + static_cast<std::size_t>(i)];
        if (other.state != State::kInWarp || other.mask != thread.mask) return false;
    }
    Meeting meeting;
    std::memset(meeting.slots, kPoison, sizeof(meeting.slots));
    meeting.lanes = expected;
    for (int i = 0; i < 32; ++i) {
        if (!(expected >> i & 1u)) continue;
        Thread& other = threads[first + static_cast<std::size_t>(i)];
        if (std::strcmp(other.site.what, thread.site.what) != 0) {
            launch_state.error = "lanes of one warp meet in " + at(thread.site) + " and " + at(other.site);
            current = &other;
            return true;
        }
        std::memcpy(meeting.slots[i], other.seen.slots[i], kSlotBytes);
    }
    for (int i = 0; i < 32; ++i) {
        if (!(expected >> i & 1u)) continue;
        Thread& other = threads[first + static_cast<std::size_t>(i)];
        other.seen = meeting;
        other.state = State::kReady;
    }
    return true;
}

void resume(Thread& thread) {
    current = &thread;
    threadIdx = thread.index;
    thread.fiber.resume();
}

std::string stuck() {
    std::string text = "not all threads reach a barrier: ";
    unsigned shown = 0;
    for (const Thread& thread : launch_state.threads) {
        const bool waits = thread.state == State::kAtBarrier || thread.state == State::kInWarp;
        if (!waits) continue;
        if (shown == 0) current = launch_state.threads.data() + thread.number;
        if (++shown == 1) text += "a thread waits at " + at(thread.site);
    }
    return text + ", with it " + std::to_string(shown - 1) + " more wait, " + std::to_string(launch_state.left) +
           " of " + std::to_string(launch_state.threads.size()) + " have left the kernel";
}

void run_block(std::uint64_t draw) {
    auto& threads = launch_state.threads;
    launch_state.arrived = launch_state.left = 0;
    launch_state.count = 0;
    for (std::size_t i = 0; i < threads.size(); ++i) {
        threads[i].state = State::kReady;
        threads[i].fiber.prepare(stacks[i], enter, &threads[i]);
    }
    for (std::uint64_t round = 0; launch_state.left < threads.size(); ++round) {
        const Order order(threads.size(), draw * 977 + round);
        bool moved = false;
        for (std::size_t turn = 0; turn < threads.size(); ++turn) {
            Thread& thread = threads[order[turn]];
            if (thread.state != State::kReady) continue;
            moved = true;
            resume(thread);
            if (!launch_state.error.empty()) return;
        }
        if (moved) continue;
        // Only lanes that have left since can end a meeting that none of the waiting could.
        for (Thread& thread : threads)
            if (thread.state == State::kInWarp && settle(thread)) moved = true;
        if (!moved) launch_state.error = stuck();
        if (!launch_state.error.empty()) return;
    }
}

bool valid(const void* kernel, dim3 grid, dim3 block, std::size_t shared_bytes) {
    const bool blocks =
        grid.x >= 1 && grid.x <= 0x7FFFFFFFu && grid.y >= 1 && grid.y <= 65535 && grid.z >= 1 && grid.z <= 65535;
    const bool sides =
        block.x >= 1 && block.y >= 1 && block.z >= 1 && block.x <= 1024 && block.y <= 1024 && block.z <= 64;
    if (!blocks || !sides || std::uint64_t{block.x} * block.y * block.z > 1024) {
        set_last_error(cudaErrorInvalidConfiguration);
        return false;
    }
    if (shared_bytes > allowed_shared_bytes(kernel)) {
        set_last_error(cudaErrorInvalidValue);
        return false;
    }
    return true;
}

}  // namespace

void fail(const std::string& message) {
    launch_state.error = message;
    current->fiber.leave();
    std::abort();  // a launch that failed resumes no thread
}

Votes block_barrier(const Site& site, bool predicate) {
    Thread& self = *current;
    Launch& block = launch_state;
    if (block.arrived == 0) block.barrier = site;
    if (block.barrier.line != site.line || std::strcmp(block.barrier.file, site.file) != 0)
        fail("threads of one block wait at two barriers: " + at(block.barrier) + " and " + at(site));
    block.count += predicate;
    if (++block.arrived < block.threads.size()) {
        self.site = site;
        self.state = State::kAtBarrier;
        self.fiber.leave();
    } else {
        block.votes = {block.count > 0, block.count == static_cast<int>(block.threads.size()), block.count};
        block.arrived = 0;
        block.count = 0;
        for (Thread& thread : block.threads) thread.state = State::kReady;
        self.fiber.leave();  // its turn is over too, so that not always the last one goes first
    }
    return block.votes;
}

const Meeting& warp_meeting(const Site& site, unsigned mask, const void* value, std::size_t bytes) {
    Thread& self = *current;
    if (!(mask >> lane() & 1u)) fail("a lane calls " + at(site) + " with a mask that does not name it");
    self.site = site;
    self.mask = mask;
    std::memset(self.seen.slots[lane()], kPoison, kSlotBytes);
    if (bytes) std::memcpy(self.seen.slots[lane()], value, bytes);
    self.state = State::kInWarp;
    settle(self);
    self.fiber.leave();
    return self.seen;
}

int lane() { return static_cast<int>(current->number % 32); }

void* dynamic_shared() { return shared.get(); }

/// The module's other thread-local variables, pybind11's among them, lie amid the kernels' and must outlive a launch.
class Restored {
  public:
    explicit Restored(Region region)
        : begin_(static_cast<unsigned char*>(region.begin)), bytes_(begin_, begin_ + region.bytes) {}
    ~Restored() { std::memcpy(begin_, bytes_.data(), bytes_.size()); }

  private:
    unsigned char* begin_;
    std::vector<unsigned char> bytes_;
};

bool watched(const void* kernel, dim3 grid, dim3 block, std::size_t shared_bytes, const Argument* arguments,
             int count) {
    if (watcher == nullptr || !valid(kernel, grid, block, shared_bytes)) return false;
    std::vector<unsigned char> laid;  // in order, each aligned, as a kernel's parameters lie on a device
    for (int i = 0; i < count; ++i) {
        laid.resize((laid.size() + arguments[i].alignment - 1) / arguments[i].alignment * arguments[i].alignment);
        const auto* bytes = static_cast<const unsigned char*>(arguments[i].value);
        laid.insert(laid.end(), bytes, bytes + arguments[i].bytes);
    }
    const unsigned sizes[] = {grid.x, grid.y, grid.z, block.x * block.y * block.z};
    watcher(kernel, sizes, shared_bytes, laid.data(), laid.size());
    return true;
}

void run_grid(const void* kernel, dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& body) {
    if (!valid(kernel, grid, block, shared_bytes)) return;
    const std::lock_guard<std::mutex> lock(one_launch);
    ++launches;
    const std::size_t count = std::size_t{block.x} * block.y * block.z;
    stacks.reserve(count);
    auto& threads = launch_state.threads;
    threads.resize(count);
    for (unsigned i = 0; i < count; ++i) {
        threads[i].number = i;
        threads[i].index = {i % block.x, i / block.x % block.y, i / block.x / block.y};
    }
    launch_state.body = &body;
    launch_state.error.clear();
    shared.reset(new unsigned char[shared_bytes]);
    blockDim = block;
    gridDim = grid;
    const Region fixed = static_shared_memory();
    const Restored rest(fixed);
    const std::uint64_t blocks = std::uint64_t{grid.x} * grid.y * grid.z;
    const Order order(blocks, blocks);
    for (std::uint64_t turn = 0; turn < blocks; ++turn) {
        const std::uint64_t number = order[turn];
        blockIdx = {static_cast<unsigned>(number % grid.x), static_cast<unsigned>(number / grid.x % grid.y),
                    static_cast<unsigned>(number / grid.x / grid.y)};
        std::memset(fixed.begin, kPoison, fixed.bytes);
        std::memset(shared.get(), kPoison, shared_bytes);
        run_block(number);
        if (launch_state.error.empty()) continue;
        const uint3 thread = current->index;
        throw std::runtime_error("cuda_on_host: " + launch_state.error + "; block " +
                                 triple(blockIdx.x, blockIdx.y, blockIdx.z) + " of " + triple(grid.x, grid.y, grid.z) +
                                 ", thread " + triple(thread.x, thread.y, thread.z) + " of " +
                                 triple(block.x, block.y, block.z));
    }
}

}  // namespace cuda_on_host

#define CUDA_ON_HOST_EXPORT extern "C" __attribute__((visibility("default")))

/// Another order of blocks and threads; 0 is the rising one.
CUDA_ON_HOST_EXPORT void cuda_on_host_set_order(std::uint64_t seed) { cuda_on_host::order_seed = seed; }

/// Kernels started so far.
CUDA_ON_HOST_EXPORT std::uint64_t cuda_on_host_launches() { return cuda_on_host::launches; }

/// From now on launches are told to `watcher` and not made; nullptr makes them again.
CUDA_ON_HOST_EXPORT void cuda_on_host_watch(cuda_on_host::Watcher watcher) { cuda_on_host::watcher = watcher; }
