// SPDX-License-Identifier: Apache-2.0
#include "shared_memory.h"

#include <link.h>

#include <cstdint>
#include <stdexcept>

namespace cuda_on_host {
namespace {

thread_local volatile char anchor;  // touched, so that the loader has made this thread's copy

struct Search {
    std::uintptr_t inside;
    Region found;
};

int visit(dl_phdr_info* module, std::size_t, void* argument) {
    auto& search = *static_cast<Search*>(argument);
    const auto begin = reinterpret_cast<std::uintptr_t>(module->dlpi_tls_data);
    for (int i = 0; begin != 0 && i < module->dlpi_phnum; ++i) {
        const auto& header = module->dlpi_phdr[i];
        if (header.p_type != PT_TLS) continue;
        if (search.inside < begin || search.inside >= begin + header.p_memsz) continue;
        search.found = {module->dlpi_tls_data, header.p_memsz};
        return 1;
    }
    return 0;
}

}  // namespace

Region static_shared_memory() {
    anchor = 1;
    Search search{reinterpret_cast<std::uintptr_t>(&anchor), {nullptr, 0}};
    dl_iterate_phdr(visit, &search);
    if (!search.found.begin) throw std::runtime_error("cuda_on_host: the shared memory of the kernels was not found");
    return search.found;
}

}  // namespace cuda_on_host
