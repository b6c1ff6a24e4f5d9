// SPDX-License-Identifier: Apache-2.0
// Launchers of the contrastive loss. Pointers and the stream are integers, as Python passes them.
#pragma once

#include <cstdint>

#include "common/contrastive_similarity_buffers.h"

namespace asl::cuda {

/// Numbers of scratch the forward pass needs, of the type that it computes in.
std::int64_t contrastive_similarity_parts(std::int64_t count, bool is_double);

/// total = base + weight * loss; `base` may be 0, there is an instance, `counter` is 0.
void contrastive_similarity_forward(const ContrastiveBuffers& buffers, double delta, double temperature,
                                    std::uintptr_t base, double weight, std::uintptr_t parts, std::uintptr_t counter,
                                    std::uintptr_t total, std::uintptr_t loss, std::uintptr_t stream);

/// Scratch: grad_vectors like the vectors, each (count, 6). Gradients of the Gaussians where `each` is not 0, of the
/// features where their address is not 0; grad_total or grad_loss at address 0 counts as 0.
void contrastive_similarity_backward(const ContrastiveBuffers& buffers, View grad_total, View grad_loss,
                                     double temperature, double weight, std::uintptr_t grad_vectors,
                                     std::uintptr_t each, std::uintptr_t counter, std::uintptr_t grad_features,
                                     View grad_mu, View grad_sigma, std::uintptr_t stream);

}  // namespace asl::cuda
