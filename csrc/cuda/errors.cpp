// SPDX-License-Identifier: Apache-2.0
#include "cuda/errors.h"

#include <stdexcept>
#include <string>

namespace asl::cuda {

void call_failed(const char* what, const char* why) {
    throw std::runtime_error(std::string("asl_fast: ") + what + " failed: " + why);
}

void refuse_argument(const char* why) { throw std::invalid_argument(why); }

}  // namespace asl::cuda
