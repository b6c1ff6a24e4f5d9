// SPDX-License-Identifier: Apache-2.0
// Contiguous buffers of any floating type, read and written in the type that an operator computes in.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/dtype.h"
#include "common/elementary.h"

namespace asl {

template <class T>
T* pointer(std::uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

struct Source {
    const void* data = nullptr;
    Dtype dtype = Dtype::kFloat32;

    Source() = default;
    Source(const void* data, Dtype dtype) : data(data), dtype(dtype) {}
    explicit Source(View view) : Source(pointer<const void>(view.address), static_cast<Dtype>(view.dtype)) {}
    explicit operator bool() const { return data != nullptr; }
};

struct Sink {
    void* data = nullptr;
    Dtype dtype = Dtype::kFloat32;

    Sink() = default;
    Sink(void* data, Dtype dtype) : data(data), dtype(dtype) {}
    explicit Sink(View view) : Sink(pointer<void>(view.address), static_cast<Dtype>(view.dtype)) {}
    explicit operator bool() const { return data != nullptr; }
};

inline float from_bfloat16(std::uint16_t bits) { return same_bits<float>(static_cast<std::uint32_t>(bits) << 16); }

inline std::uint16_t to_bfloat16(float value) {
    const auto bits = same_bits<std::uint32_t>(value);
    const std::uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;  // to the nearest, ties to even
    return static_cast<std::uint16_t>(value == value ? rounded : 0x7FC0u);
}

inline float from_float16(std::uint16_t bits) {
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16, rest = bits & 0x7FFFu;
    // The exponent moves to its place in float32 and gains 127 - 15 by an exact product; subnormal numbers become
    // normal ones on the way. Infinity and NaN keep the largest exponent.
    const float scaled = same_bits<float>(rest << 13) * same_bits<float>(0x77800000u);  // 2^112
    const std::uint32_t special = rest >= 0x7C00u ? 0x7F800000u : 0u;
    return same_bits<float>(same_bits<std::uint32_t>(scaled) | special | sign);
}

/// Elements [first, first + count) of `from`; exact unless a double becomes a float.
template <class Real>
void load(const Source& from, std::int64_t first, std::int64_t count, Real* to) {
    const auto each = [&](auto* data, auto convert) {
        for (std::int64_t i = 0; i < count; ++i) to[i] = static_cast<Real>(convert(data[first + i]));
    };
    const auto same = [](auto value) { return value; };
    switch (from.dtype) {
        case Dtype::kFloat32:
            return each(static_cast<const float*>(from.data), same);
        case Dtype::kFloat64:
            return each(static_cast<const double*>(from.data), same);
        case Dtype::kFloat16:
            return each(static_cast<const std::uint16_t*>(from.data), from_float16);
        case Dtype::kBFloat16:
            return each(static_cast<const std::uint16_t*>(from.data), from_bfloat16);
    }
}

template <class Real>
constexpr Dtype kDtypeOf = sizeof(Real) == sizeof(double) ? Dtype::kFloat64 : Dtype::kFloat32;

/// Elements [first, first + count) where they lie if they are of this type, else converted into `scratch`.
template <class Real>
const Real* view_or_load(const Source& from, std::int64_t first, std::int64_t count, Real* scratch) {
    if (from.dtype == kDtypeOf<Real>) return static_cast<const Real*>(from.data) + first;
    load(from, first, count, scratch);
    return scratch;
}

/// The reverse of load, rounding to the nearest. float16 is never written: gradients wait in float32.
template <class Real>
void store(const Real* from, std::int64_t count, const Sink& to, std::int64_t first) {
    const auto each = [&](auto* data, auto convert) {
        for (std::int64_t i = 0; i < count; ++i) data[first + i] = convert(from[i]);
    };
    switch (to.dtype) {
        case Dtype::kFloat64:
            return each(static_cast<double*>(to.data), [](Real value) { return static_cast<double>(value); });
        case Dtype::kBFloat16:
            return each(static_cast<std::uint16_t*>(to.data),
                        [](Real value) { return to_bfloat16(static_cast<float>(value)); });
        default:
            return each(static_cast<float*>(to.data), [](Real value) { return static_cast<float>(value); });
    }
}

}  // namespace asl
