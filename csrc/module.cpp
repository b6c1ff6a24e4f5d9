// SPDX-License-Identifier: Apache-2.0
// The module asl_fast._native: every operator of csrc/cpu.
#include "bindings.h"
#include "cpu/parallel.h"

std::vector<asl::Bind>& asl::bindings() {
    static std::vector<Bind> all;
    return all;
}

PYBIND11_MODULE(_native, m, pybind11::mod_gil_not_used()) {
    m.doc() = "Compiled CPU operators of asl_fast; called through asl_fast.ops, which checks the arguments.";
    m.attr("compiler") = ASL_COMPILER;
    m.def("default_threads", &asl::default_threads, "Threads that an operator uses when it is given 0.");
    asl::bind_all(m);
}
