// SPDX-License-Identifier: Apache-2.0
// The module asl_fast._native_cuda: one register_<op> call per file of csrc/cuda, and what devices there are.
#include <pybind11/pybind11.h>

#include "check.h"
#include "registry.h"

namespace py = pybind11;

namespace {

/// Devices the runtime sees; 0, not an exception, where there is no driver.
int device_count() {
    int count = 0;
    if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
    cudaGetLastError();  // a failed query must not surface in a later, unrelated call
    return 0;
}

/// Why device_count() is 0, in the runtime's words; empty where a device is found.
std::string device_error() {
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    cudaGetLastError();
    return status == cudaSuccess ? std::string() : std::string(cudaGetErrorString(status));
}

py::list devices() {
    py::list found;
    for (int index = 0; index < device_count(); ++index) {
        cudaDeviceProp properties{};
        asl::cuda::check(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties");
        py::dict device;
        device["index"] = index;
        device["name"] = std::string(properties.name);
        device["capability"] = py::make_tuple(properties.major, properties.minor);
        device["memory_bytes"] = properties.totalGlobalMem;
        device["multiprocessors"] = properties.multiProcessorCount;
        found.append(device);
    }
    return found;
}

}  // namespace

PYBIND11_MODULE(_native_cuda, m, py::mod_gil_not_used()) {
    m.doc() = "Compiled CUDA operators of asl_fast; called through asl_fast.ops, which checks the arguments.";
    m.attr("runtime_version") = CUDART_VERSION;
    m.attr("architectures") = ASL_CUDA_ARCHS;
    m.def("device_count", &device_count, "CUDA devices this process can use; 0 where there is no driver.");
    m.def("device_error", &device_error, "Why there is no device; empty where there is one.");
    m.def("devices", &devices, "Name, compute capability and memory of every device.");
}
