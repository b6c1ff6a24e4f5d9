// SPDX-License-Identifier: Apache-2.0
// One line per operator: csrc/cuda/<op>.cu defines register_<op>, csrc/cuda/module_cuda.cu calls it.
#pragma once

#include <pybind11/pybind11.h>

namespace asl::cuda {

// void register_<op>(pybind11::module_& m);

}  // namespace asl::cuda
