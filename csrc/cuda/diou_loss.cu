// SPDX-License-Identifier: Apache-2.0
// Distance-IoU loss of aligned rows with all derivatives, in one launch: a thread takes whole rows.
#include "common/diou_loss.h"

#include "cuda/diou_loss.h"
#include "cuda/elements.h"
#include "cuda/launch.h"
#include "cuda/sums.h"

namespace asl::cuda {
namespace {

constexpr int kThreads = 256;

struct Diou {
    Source pred, target;  // (rows, 2)
    Source weights;       // (rows,), or absent
    std::int64_t rows;
    Reduction reduction;
    double eps;
    Sink grad_pred, grad_target, grad_weights;  // absent where not needed
};

template <class Real>
__global__ void __launch_bounds__(kThreads) diou_loss_kernel(Diou call, Real* loss, Real* parts, unsigned* counter) {
    const bool elementwise = call.reduction == Reduction::kNone;
    const Real scale = call.reduction == Reduction::kMean ? Real(1) / static_cast<Real>(call.rows) : Real(1);
    const auto eps = static_cast<Real>(call.eps);
    Real total = 0;
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kThreads;
    for (std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; at < call.rows; at += step) {
        const Pair<Real> p = load_pair<Real>(call.pred, at);
        const Pair<Real> t = load_pair<Real>(call.target, at);
        const DiouRow<Real> row = diou_row(p.first, p.second, t.first, t.second, eps);
        const Real weight = call.weights.data != nullptr ? load<Real>(call.weights, at) : Real(1);
        if (elementwise)
            loss[at] = row.loss * weight;
        else
            total += row.loss * weight;
        const Real factor = weight * scale;
        if (call.grad_pred.data != nullptr) store_pair(call.grad_pred, at, row.pred[0] * factor, row.pred[1] * factor);
        if (call.grad_target.data != nullptr)
            store_pair(call.grad_target, at, row.target[0] * factor, row.target[1] * factor);
        if (call.grad_weights.data != nullptr) store(call.grad_weights, at, row.loss * scale);
    }
    if (!elementwise) grid_sum<kThreads>(total * scale, parts, counter, loss);
}

template <class Real>
void start(const Diou& call, std::int64_t blocks, View loss, std::uintptr_t parts, std::uintptr_t counter,
           cudaStream_t stream) {
    launch(&diou_loss_kernel<Real>, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, stream, call,
           reinterpret_cast<Real*>(loss.address), reinterpret_cast<Real*>(parts), reinterpret_cast<unsigned*>(counter));
    check_launch("diou_loss");
}

}  // namespace

void diou_loss(View pred, View target, View weights, std::int64_t rows, int reduction, double eps, std::int64_t blocks,
               View loss, std::uintptr_t parts, std::uintptr_t counter, View grad_pred, View grad_target,
               View grad_weights, std::uintptr_t stream) {
    const Diou call{Source(pred),    Source(target),    Source(weights),   rows, static_cast<Reduction>(reduction), eps,
                    Sink(grad_pred), Sink(grad_target), Sink(grad_weights)};
    if (static_cast<Dtype>(loss.dtype) == Dtype::kFloat64)
        start<double>(call, blocks, loss, parts, counter, as_stream(stream));
    else
        start<float>(call, blocks, loss, parts, counter, as_stream(stream));
}

}  // namespace asl::cuda
