// SPDX-License-Identifier: Apache-2.0
// One loop, compiled for several instruction sets; the processor at hand decides at run time.
//
// Not the target_clones attribute: it takes no templates, does not exist on macOS, and its resolvers run before the
// sanitizers have started. Contraction is off and the loops have no reduction, so every level gives the same bits.
#pragma once

#include "common/host_device.h"

namespace asl {

enum class SimdLevel : int { kBaseline = 0, kAvx2 = 1, kAvx512 = 2 };

#if defined(__x86_64__) && defined(__GNUC__)

inline SimdLevel simd_level() {
    static const SimdLevel level = [] {
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
            return SimdLevel::kAvx512;
        return __builtin_cpu_supports("avx2") ? SimdLevel::kAvx2 : SimdLevel::kBaseline;
    }();
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
