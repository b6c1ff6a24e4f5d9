// SPDX-License-Identifier: Apache-2.0
// The module asl_fast._native_cuda: what devices there are, and every operator of csrc/cuda.
#include "bindings.h"
#include "cuda/devices.h"

namespace py = pybind11;

std::vector<asl::Bind>& asl::bindings() {
    static std::vector<Bind> all;
    return all;
}

namespace {

py::list devices() {
    py::list found;
    for (int index = 0; index < asl::cuda::device_count(); ++index) {
        const asl::cuda::Device device = asl::cuda::device(index);
        py::dict entry;
        entry["name"] = py::str(device.name);
        entry["capability"] = py::make_tuple(device.major, device.minor);
        entry["memory_bytes"] = device.memory_bytes;
        entry["multiprocessors"] = device.multiprocessors;
        found.append(entry);
    }
    return found;
}

}  // namespace

#if !defined(ASL_CUDA_MODULE)
#define ASL_CUDA_MODULE _native_cuda
#endif

PYBIND11_MODULE(ASL_CUDA_MODULE, m, py::mod_gil_not_used()) {
    m.doc() = "Compiled CUDA operators of asl_fast; called through asl_fast.ops, which checks the arguments.";
    m.attr("runtime_version") = asl::cuda::runtime_version();
    m.attr("architectures") = ASL_CUDA_ARCHS;
    m.def("device_count", &asl::cuda::device_count, "CUDA devices this process can use; 0 where there is no driver.");
    m.def("device_error", &asl::cuda::device_error, "Why there is no device; empty where there is one.");
    m.def("devices", &devices, "Name, compute capability and memory of every device.");
    asl::bind_all(m);
}
