// SPDX-License-Identifier: Apache-2.0
#include "runtime_api.h"

#include <cstdio>
#include <cstring>
#include <map>

namespace {

// A small device of compute capability 9.0: few multiprocessors, so that loops over the grid take several turns.
constexpr int kMultiprocessors = 3;
constexpr std::size_t kSharedPerBlock = 48 * 1024, kSharedOptin = 227 * 1024, kSharedPerMultiprocessor = 228 * 1024;

cudaError_t last_error = cudaSuccess;
std::map<const void*, std::size_t> shared_of_kernel;

}  // namespace

const char* cudaGetErrorString(cudaError_t status) {
    switch (status) {
        case cudaSuccess:
            return "no error";
        case cudaErrorInvalidValue:
            return "invalid argument";
        case cudaErrorInvalidConfiguration:
            return "invalid configuration argument";
    }
    return "unrecognized error code";
}

cudaError_t cudaGetLastError() {
    const cudaError_t status = last_error;
    last_error = cudaSuccess;
    return status;
}

cudaError_t cudaPeekAtLastError() { return last_error; }

cudaError_t cudaGetDeviceCount(int* count) {
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
    *device = 0;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidValue; }

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* about, int device) {
    if (device != 0) return cudaErrorInvalidValue;
    *about = {};
    std::snprintf(about->name, sizeof(about->name), "CUDA on the host");
    about->totalGlobalMem = std::size_t{1} << 30;
    about->sharedMemPerBlock = kSharedPerBlock;
    about->sharedMemPerBlockOptin = kSharedOptin;
    about->sharedMemPerMultiprocessor = kSharedPerMultiprocessor;
    about->major = 9;
    about->multiProcessorCount = kMultiprocessors;
    about->warpSize = 32;
    about->maxThreadsPerBlock = 1024;
    about->maxThreadsPerMultiProcessor = 2048;
    about->regsPerBlock = 65536;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr which, int device) {
    if (device != 0) return cudaErrorInvalidValue;
    const std::map<cudaDeviceAttr, std::size_t> values = {
        {cudaDevAttrMaxSharedMemoryPerBlock, kSharedPerBlock},
        {cudaDevAttrMultiProcessorCount, kMultiprocessors},
        {cudaDevAttrMaxThreadsPerMultiProcessor, 2048},
        {cudaDevAttrComputeCapabilityMajor, 9},
        {cudaDevAttrComputeCapabilityMinor, 0},
        {cudaDevAttrMaxSharedMemoryPerMultiprocessor, kSharedPerMultiprocessor},
        {cudaDevAttrMaxSharedMemoryPerBlockOptin, kSharedOptin},
    };
    const auto found = values.find(which);
    if (found == values.end()) return cudaErrorInvalidValue;
    *value = static_cast<int>(found->second);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t) {
    std::memset(to, value, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t) {
    std::memcpy(to, from, bytes);
    return cudaSuccess;
}

namespace cuda_on_host {

cudaError_t set_attribute(const void* kernel, cudaFuncAttribute which, int value) {
    if (which == cudaFuncAttributePreferredSharedMemoryCarveout) return cudaSuccess;
    if (value < 0 || static_cast<std::size_t>(value) > kSharedOptin) return last_error = cudaErrorInvalidValue;
    shared_of_kernel[kernel] = static_cast<std::size_t>(value);
    return cudaSuccess;
}

std::size_t allowed_shared_bytes(const void* kernel) {
    const auto found = shared_of_kernel.find(kernel);
    return found == shared_of_kernel.end() || found->second < kSharedPerBlock ? kSharedPerBlock : found->second;
}

void set_last_error(cudaError_t status) { last_error = status; }

}  // namespace cuda_on_host
