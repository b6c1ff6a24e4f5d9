// SPDX-License-Identifier: Apache-2.0
// What the compiler's alignment and bounds checks call in kernels: they end the launch instead of the process. In a
// build with the sanitizers' own library that library answers.
#include <cstdint>

#include "scheduler.h"

#if !defined(__SANITIZE_ADDRESS__)

namespace {

/// How the compiler's data about a check begins.
struct Place {
    const char* file;
    std::uint32_t line, column;
};

[[noreturn]] void report(const char* what, const void* data) {
    const auto* place = static_cast<const Place*>(data);
    cuda_on_host::fail(std::string(what) + " in " + place->file + ":" + std::to_string(place->line));
}

}  // namespace

extern "C" {
void __ubsan_handle_type_mismatch_v1(void* data, std::uintptr_t address);
void __ubsan_handle_type_mismatch_v1_abort(void* data, std::uintptr_t address);
void __ubsan_handle_out_of_bounds(void* data, std::uintptr_t index);
void __ubsan_handle_out_of_bounds_abort(void* data, std::uintptr_t index);

void __ubsan_handle_type_mismatch_v1(void* data, std::uintptr_t) { report("an access that is not aligned", data); }
void __ubsan_handle_type_mismatch_v1_abort(void* data, std::uintptr_t) {
    report("an access that is not aligned", data);
}
void __ubsan_handle_out_of_bounds(void* data, std::uintptr_t) { report("an index outside of its array", data); }
void __ubsan_handle_out_of_bounds_abort(void* data, std::uintptr_t) { report("an index outside of its array", data); }
}

#endif
