// SPDX-License-Identifier: Apache-2.0
// One loop, compiled for several instruction sets; the processor at hand decides at run time.
//
// Not the target_clones attribute: it takes no templates, does not exist on macOS, and its resolvers run before the
// sanitizers have started. Contraction is off and the loops have no reduction, so every level gives the same bits.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
#endif

#include "common/host_device.h"

namespace asl {

enum class SimdLevel : int { kBaseline = 0, kAvx2 = 1, kAvx512 = 2 };

#if defined(__x86_64__) && defined(__GNUC__)

/// The best level of this processor whose registers the system saves. The processor is asked itself:
/// __builtin_cpu_supports reads a table that a runtime library fills, and zig's does not.
inline SimdLevel find_simd_level() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return SimdLevel::kBaseline;
    unsigned saved = 0, high = 0;
    __asm__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    constexpr unsigned kSavedAvx = 0x06, kSavedAvx512 = 0xe6;
    if ((saved & kSavedAvx) != kSavedAvx || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return SimdLevel::kBaseline;
    constexpr unsigned kAvx2Bit = 1u << 5, kAvx512Bits = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;  // f, dq, bw, vl
    if ((saved & kSavedAvx512) == kSavedAvx512 && (b & kAvx512Bits) == kAvx512Bits) return SimdLevel::kAvx512;
    return b & kAvx2Bit ? SimdLevel::kAvx2 : SimdLevel::kBaseline;
}

inline SimdLevel simd_level() {
    static const SimdLevel level = find_simd_level();
    return level;
}

namespace detail {

template <class Kernel, class... Args>
__attribute__((noinline, target("avx2"))) void call_avx2(Args... args) {
    Kernel::run(args...);
}

template <class Kernel, class... Args>
__attribute__((noinline, target("avx512f,avx512bw,avx512dq,avx512vl"))) void call_avx512(Args... args) {
    Kernel::run(args...);
}

}  // namespace detail

/// Kernel::run(args...), an ASL_HOST_DEVICE static function, compiled for `level`. Arguments are passed by value, so
/// that the compiler sees that the loop's stores do not change them.
template <class Kernel, class... Args>
void simd_call(SimdLevel level, Args... args) {
    switch (level) {
        case SimdLevel::kAvx512:
            return detail::call_avx512<Kernel>(args...);
        case SimdLevel::kAvx2:
            return detail::call_avx2<Kernel>(args...);
        default:
            Kernel::run(args...);
    }
}

#else

inline SimdLevel simd_level() { return SimdLevel::kBaseline; }

template <class Kernel, class... Args>
void simd_call(SimdLevel, Args... args) {
    Kernel::run(args...);
}

#endif

}  // namespace asl
