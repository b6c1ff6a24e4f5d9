// SPDX-License-Identifier: Apache-2.0
#include "cuda/check.h"
#include "cuda/devices.h"

namespace asl::cuda {

int runtime_version() { return CUDART_VERSION; }

int device_count() {
    int count = 0;
    if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
    cudaGetLastError();  // a failed query must not surface in a later, unrelated call
    return 0;
}

std::string device_error() {
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    cudaGetLastError();
    return status == cudaSuccess ? std::string() : std::string(cudaGetErrorString(status));
}

std::vector<Device> devices() {
    std::vector<Device> found;
    for (int index = 0; index < device_count(); ++index) {
        cudaDeviceProp about{};
        check(cudaGetDeviceProperties(&about, index), "cudaGetDeviceProperties");
        found.push_back({about.name, about.major, about.minor, about.totalGlobalMem, about.multiProcessorCount});
    }
    return found;
}

}  // namespace asl::cuda
