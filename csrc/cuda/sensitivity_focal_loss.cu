// SPDX-License-Identifier: Apache-2.0
// Sensitivity-weighted focal loss: one launch reads each logit once and writes each gradient once.
//
// A block owns tiles of whole rows, which are contiguous, and its threads walk over them side by side. Gradients of
// weights that are one a row need the sum over a row: its losses wait in shared memory, so nothing is added atomically.
#include "common/sensitivity_focal_loss.h"

#include <algorithm>
#include <type_traits>

#include "cuda/elements.h"
#include "cuda/launch.h"
#include "cuda/launchers.h"
#include "cuda/sums.h"

namespace asl::cuda {
namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kTile = 4096;  // elements, unless one row has more

struct Focal {
    Source targets;           // dense (rows, classes), or absent
    const std::int64_t* ids;  // (rows,), or absent
    Source weights;           // (rows,) or (rows, classes), or absent
    bool row_weights;
    const std::uint8_t* mask;  // (rows,), or absent
    const std::int64_t* kept;  // rows that the mask keeps, for the mean; or absent
    std::int64_t rows;
    int classes;
    double alpha, gamma, label_smoothing;
    Reduction reduction;
    Sink grad_weights;  // like the weights, elementwise without reduction; or absent
};

template <class T, class Real, bool kSquare>
__global__ void __launch_bounds__(kThreads)
    sensitivity_focal_loss_kernel(const T* logits, Focal call, int rows_per_tile, Real* loss, Real* parts,
                                  unsigned* counter, void* grads) {
    using Grad = std::conditional_t<std::is_same_v<T, __half>, float, T>;
    Real* of_row = dynamic_shared<Real>();  // losses without weight, where rows are summed
    auto* grad_logits = static_cast<Grad*>(grads);
    const FocalRule<Real> rule = focal_rule<Real>(call.alpha, call.gamma);
    const auto smoothing = static_cast<Real>(call.label_smoothing);
    const Real keep = Real(1) - smoothing, spread = smoothing / static_cast<Real>(call.classes + 1);
    const bool elementwise = call.reduction == Reduction::kNone;
    const bool sum_rows = call.grad_weights.data != nullptr && call.row_weights && !elementwise;
    Real factor = 1;
    if (call.reduction == Reduction::kMean) {
        const std::int64_t rows = call.kept != nullptr ? *call.kept : call.rows;
        factor /= static_cast<Real>(rows > 0 ? rows * call.classes : 1);
    }

    const int thread = static_cast<int>(threadIdx.x);
    const int next_row = kThreads / call.classes, next_column = kThreads % call.classes;
    Real total = 0;
    const std::int64_t tiles = (call.rows + rows_per_tile - 1) / rows_per_tile;
    for (std::int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const std::int64_t first_row = tile * rows_per_tile, first = first_row * call.classes;
        const std::int64_t left = call.rows - first_row;
        const int rows = left < rows_per_tile ? static_cast<int>(left) : rows_per_tile;
        int row = thread / call.classes, column = thread % call.classes;
        for (int i = thread; i < rows * call.classes; i += kThreads) {
            const std::int64_t at = first + i, global_row = first_row + row;
            Real value = 0, weighted = 0, slope = 0;
            if (call.mask == nullptr || call.mask[global_row] != 0) {
                const Real label =
                    call.ids != nullptr ? Real(call.ids[global_row] == column ? 1 : 0) : load<Real>(call.targets, at);
                const auto found = focal_element<kSquare>(as<Real>(logits[at]), label * keep + spread, rule);
                const Real weight = call.weights.data == nullptr
                                        ? Real(1)
                                        : load<Real>(call.weights, call.row_weights ? global_row : at);
                value = found.loss;
                weighted = value * weight;
                slope = found.slope * weight;
            }
            if (elementwise)
                loss[at] = weighted;
            else
                total += weighted;
            if (sum_rows)
                of_row[i] = value;
            else if (call.grad_weights.data != nullptr)
                store(call.grad_weights, at, value * factor);
            if (grad_logits != nullptr) grad_logits[at] = static_cast<Grad>(slope * factor);
            row += next_row;
            column += next_column;
            if (column >= call.classes) {
                column -= call.classes;
                ++row;
            }
        }
        if (!sum_rows) continue;
        __syncthreads();
        for (int own = thread / 32; own < rows; own += kThreads / 32) {
            Real sum = 0;
            for (int c = thread % 32; c < call.classes; c += 32) sum += of_row[own * call.classes + c];
            sum = warp_sum(sum);
            if (thread % 32 == 0) store(call.grad_weights, first_row + own, sum * factor);
        }
        __syncthreads();
    }
    if (!elementwise) grid_sum<kThreads>(total * factor, parts, counter, loss);
}

std::int64_t tile_rows(std::int64_t classes) { return std::max<std::int64_t>(1, kTile / classes); }

template <class T, class Real>
void start(const T* logits, const Focal& call, int blocks, Real* loss, Real* parts, unsigned* counter, View grads,
           cudaStream_t stream) {
    const std::int64_t rows_per_tile = tile_rows(call.classes);
    const bool sum_rows = call.grad_weights.data != nullptr && call.row_weights && call.reduction != Reduction::kNone;
    const std::size_t shared = sum_rows ? static_cast<std::size_t>(rows_per_tile) * call.classes * sizeof(Real) : 0;
    const auto kernel = call.gamma == 2.0 ? &sensitivity_focal_loss_kernel<T, Real, true>
                                          : &sensitivity_focal_loss_kernel<T, Real, false>;
    allow_shared(kernel, shared);
    launch(kernel, dim3(blocks), dim3(kThreads), shared, stream, logits, call, static_cast<int>(rows_per_tile), loss,
           parts, counter, reinterpret_cast<void*>(grads.first));
    check_launch("sensitivity_focal_loss");
}

}  // namespace

std::int64_t sensitivity_focal_loss_tiles(std::int64_t rows, std::int64_t classes) {
    return (rows + tile_rows(classes) - 1) / tile_rows(classes);
}

void sensitivity_focal_loss(View logits, View targets, std::uintptr_t ids, View weights, bool row_weights,
                            std::uintptr_t mask, std::uintptr_t kept, std::int64_t rows, std::int64_t classes,
                            double alpha, double gamma, double label_smoothing, int reduction, std::int64_t blocks,
                            View loss, std::uintptr_t parts, std::uintptr_t counter, View grad_logits,
                            View grad_weights, std::uintptr_t stream) {
    const Focal call{Source(targets),
                     reinterpret_cast<const std::int64_t*>(ids),
                     Source(weights),
                     row_weights,
                     reinterpret_cast<const std::uint8_t*>(mask),
                     reinterpret_cast<const std::int64_t*>(kept),
                     rows,
                     static_cast<int>(classes),
                     alpha,
                     gamma,
                     label_smoothing,
                     static_cast<Reduction>(reduction),
                     Sink(grad_weights)};
    const auto with = [&](auto* data, auto real) {
        using Real = decltype(real);
        start(data, call, static_cast<int>(blocks), reinterpret_cast<Real*>(loss.first), reinterpret_cast<Real*>(parts),
              reinterpret_cast<unsigned*>(counter), grad_logits, as_stream(stream));
    };
    switch (static_cast<Dtype>(logits.second)) {
        case Dtype::kFloat64:
            return with(reinterpret_cast<const double*>(logits.first), 0.0);
        case Dtype::kFloat16:
            return with(reinterpret_cast<const __half*>(logits.first), 0.0f);
        case Dtype::kBFloat16:
            return with(reinterpret_cast<const __nv_bfloat16*>(logits.first), 0.0f);
        default:
            return with(reinterpret_cast<const float*>(logits.first), 0.0f);
    }
}

}  // namespace asl::cuda
