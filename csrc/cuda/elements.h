// SPDX-License-Identifier: Apache-2.0
// Buffers whose floating type is known when the kernel runs, and packs of elements that move as one.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "common/dtype.h"

namespace asl::cuda {

struct Source {
    const void* data;
    Dtype dtype;

    Source(View view) : data(reinterpret_cast<const void*>(view.first)), dtype(static_cast<Dtype>(view.second)) {}
};

struct Sink {
    void* data;
    Dtype dtype;

    Sink(View view) : data(reinterpret_cast<void*>(view.first)), dtype(static_cast<Dtype>(view.second)) {}
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

/// N elements that are read or written by one instruction where their address allows it.
template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
    T values[N];
};

inline std::size_t size_of(Dtype dtype) { return dtype == Dtype::kFloat64 ? 8 : dtype == Dtype::kFloat32 ? 4 : 2; }

/// Whether the pairs of a buffer can be moved as packs of two.
inline bool pairs_are_aligned(View view) { return view.first % (2 * size_of(static_cast<Dtype>(view.second))) == 0; }

template <class Real>
struct Pair {
    Real first, second;
};

template <class Real, class T>
__device__ __forceinline__ Pair<Real> load_pair_of(const T* data, std::int64_t at, bool aligned) {
    if (!aligned) return {as<Real>(data[2 * at]), as<Real>(data[2 * at + 1])};
    const auto both = reinterpret_cast<const Pack<T, 2>*>(data)[at];
    return {as<Real>(both.values[0]), as<Real>(both.values[1])};
}

/// Row `at` of a (rows, 2) buffer.
template <class Real>
__device__ __forceinline__ Pair<Real> load_pair(const Source& from, std::int64_t at, bool aligned) {
    switch (from.dtype) {
        case Dtype::kFloat64:
            return load_pair_of<Real>(static_cast<const double*>(from.data), at, aligned);
        case Dtype::kFloat16:
            return load_pair_of<Real>(static_cast<const __half*>(from.data), at, aligned);
        case Dtype::kBFloat16:
            return load_pair_of<Real>(static_cast<const __nv_bfloat16*>(from.data), at, aligned);
        default:
            return load_pair_of<Real>(static_cast<const float*>(from.data), at, aligned);
    }
}

}  // namespace asl::cuda
