// SPDX-License-Identifier: Apache-2.0
// Exceptions that .cu files throw. They are made in a .cpp file, and no .cu file has a string or a vector: nvcc's host
// compiler may use another C++ library than the compiler of the .cpp files, as it does when a wheel is built.
#pragma once

namespace asl::cuda {

/// Throws std::runtime_error: the CUDA call `what` failed because of `why`.
[[noreturn]] void call_failed(const char* what, const char* why);

/// Throws std::invalid_argument.
[[noreturn]] void refuse_argument(const char* why);

}  // namespace asl::cuda
