// SPDX-License-Identifier: Apache-2.0
// Functions that can be left in the middle and resumed, each on a stack of its own. A fiber that is never resumed again
// leaks nothing, as long as its function owns nothing: device code does not.
#pragma once

#include <ucontext.h>

#include <cstddef>

namespace cuda_on_host {

/// Stacks with an inaccessible page below each, made once and used again.
class Stacks {
  public:
    ~Stacks();
    void reserve(std::size_t count);
    char* operator[](std::size_t index) const;

    static std::size_t bytes();

  private:
    char* memory_ = nullptr;
    std::size_t count_ = 0;
};

class Fiber {
  public:
    /// Prepares `enter(argument)` on `stack`; it must end with a call of leave, not return.
    void prepare(char* stack, void (*enter)(void*), void* argument);

    /// Runs the fiber until it calls leave.
    void resume();

    /// From within: back to where resume was called.
    void leave();

  private:
    static void start(unsigned high, unsigned low);

    ucontext_t inside_, outside_;
    char* stack_ = nullptr;
    void (*enter_)(void*) = nullptr;
    void* argument_ = nullptr;
    // What the address sanitizer wants to know about a change of stacks.
    void *fake_inside_ = nullptr, *fake_outside_ = nullptr;
    const void* outer_stack_ = nullptr;
    std::size_t outer_bytes_ = 0;
};

}  // namespace cuda_on_host
