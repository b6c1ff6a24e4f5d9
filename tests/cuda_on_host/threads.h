// SPDX-License-Identifier: Apache-2.0
// Barriers, shuffles and votes. A lane that reads from one that takes no part gets bytes of 0xFF, which are NaN.
#pragma once

#include <cstring>

#include "scheduler.h"

#define CUDA_ON_HOST_SITE(name) \
    cuda_on_host::Site { name, file, line }
#define CUDA_ON_HOST_CALLER const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(CUDA_ON_HOST_CALLER) {
    cuda_on_host::block_barrier(CUDA_ON_HOST_SITE("__syncthreads"), false);
}

inline int __syncthreads_or(int predicate, CUDA_ON_HOST_CALLER) {
    return cuda_on_host::block_barrier(CUDA_ON_HOST_SITE("__syncthreads_or"), predicate != 0).any;
}

inline int __syncthreads_and(int predicate, CUDA_ON_HOST_CALLER) {
    return cuda_on_host::block_barrier(CUDA_ON_HOST_SITE("__syncthreads_and"), predicate != 0).all;
}

inline int __syncthreads_count(int predicate, CUDA_ON_HOST_CALLER) {
    return cuda_on_host::block_barrier(CUDA_ON_HOST_SITE("__syncthreads_count"), predicate != 0).count;
}

inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, CUDA_ON_HOST_CALLER) {
    cuda_on_host::warp_meeting(CUDA_ON_HOST_SITE("__syncwarp"), mask, nullptr, 0);
}

inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}

namespace cuda_on_host {

template <class T>
T value_of(const Meeting& meeting, int lane) {
    T value;
    std::memcpy(&value, meeting.slots[lane & 31], sizeof(T));
    return value;
}

template <class T>
const Meeting& bring(const Site& site, unsigned mask, const T& value) {
    static_assert(sizeof(T) <= kSlotBytes, "the value does not fit into a shuffle");
    return warp_meeting(site, mask, &value, sizeof(T));
}

/// fold(result, value of a lane) over the lanes that came, in their order.
template <class T, class Fold>
T reduce(const Site& site, unsigned mask, T value, T start, const Fold& fold) {
    const Meeting& meeting = bring(site, mask, value);
    for (int i = 0; i < 32; ++i)
        if (meeting.lanes >> i & 1u) start = fold(start, value_of<T>(meeting, i));
    return start;
}

}  // namespace cuda_on_host

template <class T>
T __shfl_sync(unsigned mask, T value, int from, int width = 32, CUDA_ON_HOST_CALLER) {
    const auto& meeting = cuda_on_host::bring(CUDA_ON_HOST_SITE("__shfl_sync"), mask, value);
    const int first = cuda_on_host::lane() & ~(width - 1);
    return cuda_on_host::value_of<T>(meeting, first + (from & (width - 1)));
}

template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, CUDA_ON_HOST_CALLER) {
    const auto& meeting = cuda_on_host::bring(CUDA_ON_HOST_SITE("__shfl_up_sync"), mask, value);
    const int lane = cuda_on_host::lane(), from = lane - static_cast<int>(delta);
    return from < (lane & ~(width - 1)) ? value : cuda_on_host::value_of<T>(meeting, from);
}

template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, CUDA_ON_HOST_CALLER) {
    const auto& meeting = cuda_on_host::bring(CUDA_ON_HOST_SITE("__shfl_down_sync"), mask, value);
    const int lane = cuda_on_host::lane(), from = lane + static_cast<int>(delta);
    return from >= (lane & ~(width - 1)) + width ? value : cuda_on_host::value_of<T>(meeting, from);
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, CUDA_ON_HOST_CALLER) {
    const auto& meeting = cuda_on_host::bring(CUDA_ON_HOST_SITE("__shfl_xor_sync"), mask, value);
    const int lane = cuda_on_host::lane(), from = lane ^ bits;
    return from >= (lane & ~(width - 1)) + width ? value : cuda_on_host::value_of<T>(meeting, from);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, CUDA_ON_HOST_CALLER) {
    const auto& meeting = cuda_on_host::bring(CUDA_ON_HOST_SITE("__ballot_sync"), mask, predicate);
    unsigned votes = 0;
    for (int i = 0; i < 32; ++i)
        if (meeting.lanes >> i & 1u && cuda_on_host::value_of<int>(meeting, i) != 0) votes |= 1u << i;
    return votes;
}

inline int __any_sync(unsigned mask, int predicate, CUDA_ON_HOST_CALLER) {
    return __ballot_sync(mask, predicate, file, line) != 0;
}

inline int __all_sync(unsigned mask, int predicate, CUDA_ON_HOST_CALLER) {
    return __ballot_sync(mask, predicate == 0, file, line) == 0;
}

template <class T>
unsigned __match_any_sync(unsigned mask, T value, CUDA_ON_HOST_CALLER) {
    const auto& meeting = cuda_on_host::bring(CUDA_ON_HOST_SITE("__match_any_sync"), mask, value);
    unsigned same = 0;
    for (int i = 0; i < 32; ++i)
        if (meeting.lanes >> i & 1u && std::memcmp(meeting.slots[i], &value, sizeof(T)) == 0) same |= 1u << i;
    return same;
}

#define CUDA_ON_HOST_REDUCE(name, Type, start, result)                                         \
    inline Type name(unsigned mask, Type value, CUDA_ON_HOST_CALLER) {                         \
        const auto fold = [](Type a, Type b) -> Type { return result; };                       \
        return cuda_on_host::reduce<Type>(CUDA_ON_HOST_SITE(#name), mask, value, start, fold); \
    }
CUDA_ON_HOST_REDUCE(__reduce_add_sync, unsigned, 0u, a + b)
CUDA_ON_HOST_REDUCE(__reduce_add_sync, int, 0, a + b)
CUDA_ON_HOST_REDUCE(__reduce_min_sync, unsigned, ~0u, b < a ? b : a)
CUDA_ON_HOST_REDUCE(__reduce_min_sync, int, INT32_MAX, b < a ? b : a)
CUDA_ON_HOST_REDUCE(__reduce_max_sync, unsigned, 0u, a < b ? b : a)
CUDA_ON_HOST_REDUCE(__reduce_max_sync, int, INT32_MIN, a < b ? b : a)
CUDA_ON_HOST_REDUCE(__reduce_and_sync, unsigned, ~0u, a& b)
CUDA_ON_HOST_REDUCE(__reduce_or_sync, unsigned, 0u, a | b)
CUDA_ON_HOST_REDUCE(__reduce_xor_sync, unsigned, 0u, a ^ b)
#undef CUDA_ON_HOST_REDUCE
