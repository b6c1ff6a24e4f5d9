// SPDX-License-Identifier: Apache-2.0
#include "fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace cuda_on_host {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t kStackBytes = 256 * 1024;

void forget(const char* stack) { __asan_unpoison_memory_region(stack, kStackBytes); }
void before_switch(void** fake, const void* stack, std::size_t bytes) {
    __sanitizer_start_switch_fiber(fake, stack, bytes);
}
void after_switch(void* fake, const void** stack, std::size_t* bytes) {
    __sanitizer_finish_switch_fiber(fake, stack, bytes);
}
#else
constexpr std::size_t kStackBytes = 64 * 1024;

void forget(const char*) {}
void before_switch(void**, const void*, std::size_t) {}
void after_switch(void*, const void**, std::size_t*) {}
#endif

std::size_t page() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }

}  // namespace

Stacks::~Stacks() {
    if (memory_) munmap(memory_, count_ * (kStackBytes + page()));
}

std::size_t Stacks::bytes() { return kStackBytes; }

void Stacks::reserve(std::size_t count) {
    if (count <= count_) return;
    const std::size_t each = kStackBytes + page();
    if (memory_) munmap(memory_, count_ * each);
    memory_ = nullptr;
    void* found =
        mmap(nullptr, count * each, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (found == MAP_FAILED) throw std::bad_alloc();
    memory_ = static_cast<char*>(found);
    count_ = count;
    for (std::size_t i = 0; i < count; ++i)
        if (mprotect(memory_ + i * each, page(), PROT_NONE) != 0) throw std::bad_alloc();
}

char* Stacks::operator[](std::size_t index) const { return memory_ + index * (kStackBytes + page()) + page(); }

void Fiber::prepare(char* stack, void (*enter)(void*), void* argument) {
    stack_ = stack;
    enter_ = enter;
    argument_ = argument;
    fake_inside_ = nullptr;
    forget(stack);
    getcontext(&inside_);
    inside_.uc_stack.ss_sp = stack;
    inside_.uc_stack.ss_size = kStackBytes;
    inside_.uc_link = nullptr;
    const auto self = reinterpret_cast<std::uintptr_t>(this);  // makecontext passes integers only
    makecontext(&inside_, reinterpret_cast<void (*)()>(&Fiber::start), 2, static_cast<unsigned>(self >> 32),
                static_cast<unsigned>(self));
}

void Fiber::start(unsigned high, unsigned low) {
    auto* self = reinterpret_cast<Fiber*>(static_cast<std::uintptr_t>(high) << 32 | low);
    after_switch(nullptr, &self->outer_stack_, &self->outer_bytes_);
    self->enter_(self->argument_);
}

void Fiber::resume() {
    before_switch(&fake_outside_, stack_, kStackBytes);
    swapcontext(&outside_, &inside_);
    after_switch(fake_outside_, nullptr, nullptr);
}

void Fiber::leave() {
    before_switch(&fake_inside_, outer_stack_, outer_bytes_);
    swapcontext(&inside_, &outside_);
    after_switch(fake_inside_, &outer_stack_, &outer_bytes_);
}

}  // namespace cuda_on_host
