// SPDX-License-Identifier: Apache-2.0
// Numbers by which Python names floating types and reductions, as in asl_fast/ops/_buffers.py.
#pragma once

#include <cstdint>
#include <utility>

namespace asl {

enum class Dtype : int { kFloat32 = 0, kFloat64 = 1, kFloat16 = 2, kBFloat16 = 3 };

enum class Reduction : int { kNone = 0, kSum = 1, kMean = 2 };

/// Address and dtype as Python passes them; address 0: absent.
using View = std::pair<std::uintptr_t, int>;

}  // namespace asl
