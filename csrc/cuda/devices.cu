// SPDX-License-Identifier: Apache-2.0
#include "cuda/devices.h"

#include <cstring>

#include "cuda/check.h"

namespace asl::cuda {

int runtime_version() { return CUDART_VERSION; }

int device_count() {
    int count = 0;
    if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
    cudaGetLastError();  // a failed query must not surface in a later, unrelated call
    return 0;
}

const char* device_error() {
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    cudaGetLastError();
    return status == cudaSuccess ? "" : cudaGetErrorString(status);
}

Device device(int index) {
    cudaDeviceProp about{};
    check(cudaGetDeviceProperties(&about, index), "cudaGetDeviceProperties");
    Device found{{}, about.major, about.minor, about.totalGlobalMem, about.multiProcessorCount};
    static_assert(sizeof(found.name) == sizeof(about.name));
    std::memcpy(found.name, about.name, sizeof(found.name));
    return found;
}

}  // namespace asl::cuda
