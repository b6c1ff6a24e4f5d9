// SPDX-License-Identifier: Apache-2.0
// Numbers by which Python names floating types and reductions, as in asl_fast/ops/_buffers.py.
#pragma once

#include <cstdint>

namespace asl {

enum class Dtype : int { kFloat32 = 0, kFloat64 = 1, kFloat16 = 2, kBFloat16 = 3 };

enum class Reduction : int { kNone = 0, kSum = 1, kMean = 2 };

/// A tensor as Python passes it; address 0: absent. A type of our own, because nvcc's C++ library and that of a wheel's
/// compiler may each have a std::pair of another name.
struct View {
    std::uintptr_t address;
    int dtype;
};

}  // namespace asl
