// SPDX-License-Identifier: Apache-2.0
// Buffers whose floating type is known when the kernel runs, and packs of elements that move as one.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "common/dtype.h"

namespace asl::cuda {

struct Source {
    const void* data;
    Dtype dtype;

    Source(View view) : data(reinterpret_cast<const void*>(view.address)), dtype(static_cast<Dtype>(view.dtype)) {}
};

struct Sink {
    void* data;
    Dtype dtype;

    Sink(View view) : data(reinterpret_cast<void*>(view.address)), dtype(static_cast<Dtype>(view.dtype)) {}
};

template <class Real, class T>
__device__ __forceinline__ Real as(T value) {
    if constexpr (sizeof(T) == 2)
        return static_cast<Real>(static_cast<float>(value));
    else
        return static_cast<Real>(value);
}

/// Element `at` in the type that the kernel computes in. Every thread of a launch takes the same branch.
template <class Real>
__device__ __forceinline__ Real load(const Source& from, std::int64_t at) {
    switch (from.dtype) {
        case Dtype::kFloat64:
            return as<Real>(static_cast<const double*>(from.data)[at]);
        case Dtype::kFloat16:
            return as<Real>(static_cast<const __half*>(from.data)[at]);
        case Dtype::kBFloat16:
            return as<Real>(static_cast<const __nv_bfloat16*>(from.data)[at]);
        default:
            return as<Real>(static_cast<const float*>(from.data)[at]);
    }
}

/// The reverse, rounding to the nearest.
template <class Real>
__device__ __forceinline__ void store(const Sink& to, std::int64_t at, Real value) {
    switch (to.dtype) {
        case Dtype::kFloat64:
            static_cast<double*>(to.data)[at] = static_cast<double>(value);
            return;
        case Dtype::kFloat16:
            static_cast<__half*>(to.data)[at] = __float2half_rn(static_cast<float>(value));
            return;
        case Dtype::kBFloat16:
            static_cast<__nv_bfloat16*>(to.data)[at] = __float2bfloat16_rn(static_cast<float>(value));
            return;
        default:
            static_cast<float*>(to.data)[at] = static_cast<float>(value);
    }
}

/// N elements that are read or written by one instruction, or by as many of 16 bytes as they need.
template <class T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Pack {
    T values[N];
};

/// Elements [first, end) of the pack that begins at element `at` of a flat buffer; `at` is a multiple of its size.
struct Span {
    std::int64_t at;
    int first, end;
};

template <class T, int N>
__device__ __forceinline__ bool moves_as_one(const T* data, const Span& span) {
    return span.end - span.first == N && reinterpret_cast<std::uintptr_t>(data + span.at) % alignof(Pack<T, N>) == 0;
}

/// Element by element where a buffer begins at an odd address, as a view may; elements outside of the span keep theirs.
template <class Real, int N, class T>
__device__ __forceinline__ void load_pack(const T* data, const Span& span, Real (&to)[N]) {
    if (moves_as_one<T, N>(data, span)) {
        const auto pack = *reinterpret_cast<const Pack<T, N>*>(data + span.at);
#pragma unroll
        for (int i = 0; i < N; ++i) to[i] = as<Real>(pack.values[i]);
        return;
    }
#pragma unroll
    for (int i = 0; i < N; ++i)
        if (i >= span.first && i < span.end) to[i] = as<Real>(data[span.at + i]);
}

template <class Real, int N>
__device__ __forceinline__ void load_pack(const Source& from, const Span& span, Real (&to)[N]) {
    switch (from.dtype) {
        case Dtype::kFloat64:
            return load_pack(static_cast<const double*>(from.data), span, to);
        case Dtype::kFloat16:
            return load_pack(static_cast<const __half*>(from.data), span, to);
        case Dtype::kBFloat16:
            return load_pack(static_cast<const __nv_bfloat16*>(from.data), span, to);
        default:
            return load_pack(static_cast<const float*>(from.data), span, to);
    }
}

/// To global memory. The default store is named because nvcc would split that of a struct into its members.
template <class T, int N>
__device__ __forceinline__ void store_as_one(T* to, const Pack<T, N>& pack) {
    using Small = std::conditional_t<sizeof(pack) == 8, uint2, unsigned>;
    using Word = std::conditional_t<sizeof(pack) % 16 == 0, uint4, Small>;
    constexpr int kWords = sizeof(pack) / sizeof(Word);
    Word words[kWords];
    std::memcpy(words, &pack, sizeof(pack));
#pragma unroll
    for (int i = 0; i < kWords; ++i) __stwb(reinterpret_cast<Word*>(to) + i, words[i]);
}

/// The reverse, rounding to the nearest.
template <class T, class Real, int N>
__device__ __forceinline__ void store_pack(T* data, const Span& span, const Real (&from)[N]) {
    if (moves_as_one<T, N>(data, span)) {
        Pack<T, N> pack;
#pragma unroll
        for (int i = 0; i < N; ++i) pack.values[i] = static_cast<T>(from[i]);
        return store_as_one(data + span.at, pack);
    }
#pragma unroll
    for (int i = 0; i < N; ++i)
        if (i >= span.first && i < span.end) data[span.at + i] = static_cast<T>(from[i]);
}

template <class Real, int N>
__device__ __forceinline__ void store_pack(const Sink& to, const Span& span, const Real (&from)[N]) {
    switch (to.dtype) {
        case Dtype::kFloat64:
            return store_pack(static_cast<double*>(to.data), span, from);
        case Dtype::kFloat16:
            return store_pack(static_cast<__half*>(to.data), span, from);
        case Dtype::kBFloat16:
            return store_pack(static_cast<__nv_bfloat16*>(to.data), span, from);
        default:
            return store_pack(static_cast<float*>(to.data), span, from);
    }
}

template <class Real>
struct Pair {
    Real first, second;
};

/// Row `at` of a (rows, 2) buffer.
template <class Real>
__device__ __forceinline__ Pair<Real> load_pair(const Source& from, std::int64_t at) {
    Real both[2] = {};
    load_pack(from, {2 * at, 0, 2}, both);
    return {both[0], both[1]};
}

template <class Real>
__device__ __forceinline__ void store_pair(const Sink& to, std::int64_t at, Real first, Real second) {
    const Real both[2] = {first, second};
    store_pack(to, {2 * at, 0, 2}, both);
}

}  // namespace asl::cuda
