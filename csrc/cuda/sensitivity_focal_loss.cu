// SPDX-License-Identifier: Apache-2.0
// Sensitivity-weighted focal loss: one launch reads each logit once and writes each gradient once.
//
// A block owns tiles of whole rows, which are contiguous, and its threads walk over them side by side, each moving 16
// bytes of logits at a time, whatever rows they belong to. Gradients of weights that are one a row need the sum over a
// row: its losses wait in shared memory, so nothing is added atomically. Tested on the CPU (tests/cuda_on_host) and
// compiled for every architecture; no GPU has run it yet.
#include "common/sensitivity_focal_loss.h"

#include <algorithm>
#include <type_traits>

#include "cuda/elements.h"
#include "cuda/launch.h"
#include "cuda/sensitivity_focal_loss.h"
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
    Reduction reduction;
    Sink grad_weights;  // like the weights, elementwise without reduction; or absent
};

__host__ __device__ bool sums_rows(const Focal& call) {
    return call.grad_weights.data != nullptr && call.row_weights && call.reduction != Reduction::kNone;
}

/// Rows that the mask keeps, in every thread.
__device__ std::int64_t count_kept(const Focal& call) {
    __shared__ int scratch[kThreads / 32];
    __shared__ int total;
    int own = 0;
    for (std::int64_t at = 16 * threadIdx.x; at < call.rows; at += 16 * kThreads) {
        const std::int64_t left = call.rows - at;
        int kept[16] = {};
        load_pack(call.mask, {at, 0, left < 16 ? static_cast<int>(left) : 16}, kept);
        for (const int one : kept) own += one != 0;
    }
    own = block_sum<kThreads>(own, scratch);
    if (threadIdx.x == 0) total = own;
    __syncthreads();
    return total;
}

/// What the gradients and the loss are multiplied by. The gradients are written before the last row is seen, so the
/// mean needs the number of rows that the mask keeps beforehand: counted here, or by a launch before this one.
template <class Real>
__device__ Real factor_of(const Focal& call) {
    if (call.reduction != Reduction::kMean) return 1;
    std::int64_t rows = call.rows;
    if (call.mask != nullptr) rows = call.kept != nullptr ? *call.kept : count_kept(call);
    return Real(1) / static_cast<Real>(rows > 0 ? rows * call.classes : 1);
}

/// Label smoothing is label * keep + spread.
template <class Real>
struct Rule {
    FocalRule<Real> focal;
    Real keep, spread;
};

/// A pack of logits and what belongs to them; `kept` has a bit for each, 0 outside of the span.
template <class Real, int N>
struct Elements {
    Real logit[N] = {}, label[N] = {}, weight[N];
    unsigned kept = 0;
};

/// The span begins in `column` of `row`, and may reach over several rows. What the mask excludes comes as zeros.
template <class Real, int N, class T>
__device__ __forceinline__ Elements<Real, N> read(const T* logits, const Focal& call, const Rule<Real>& rule,
                                                  const Span& span, std::int64_t row, int column) {
    Elements<Real, N> all;
    load_pack(logits, span, all.logit);
    if (call.ids == nullptr) load_pack(call.targets, span, all.label);
#pragma unroll
    for (int i = 0; i < N; ++i) all.weight[i] = 1;
    if (call.weights.data != nullptr && !call.row_weights) load_pack(call.weights, span, all.weight);
    unsigned hot = 0;
    for (int first = span.first; first < span.end; ++row) {  // later rows overwrite what a row wrote in their place
        const unsigned from = ~0u << first;
        const bool keep = call.mask == nullptr || call.mask[row] != 0;
        all.kept = keep ? all.kept | from : all.kept & ~from;
        if (call.ids != nullptr) {
            const std::int64_t id = call.ids[row];
            const int ahead = id >= 0 && id < call.classes ? static_cast<int>(id) - column : -1;
            if (ahead >= 0 && ahead < N) hot |= 1u << (first + ahead);
        }
        if (call.row_weights) {
            const Real weight = load<Real>(call.weights, row);
#pragma unroll
            for (int i = 0; i < N; ++i)
                if (i >= first) all.weight[i] = weight;
        }
        first += call.classes - column;
        column = 0;
    }
    all.kept &= ~(~0u << span.end);
#pragma unroll
    for (int i = 0; i < N; ++i) {
        if (call.ids != nullptr) all.label[i] = (hot & 1u << i) != 0 ? 1 : 0;
        all.label[i] = all.label[i] * rule.keep + rule.spread;
    }
    if (all.kept == ~(~0u << N)) return all;
#pragma unroll
    for (int i = 0; i < N; ++i)
        if ((all.kept & 1u << i) == 0) all.logit[i] = all.label[i] = all.weight[i] = 0;
    return all;
}

template <class T, class Real, bool kSquare>
__global__ void __launch_bounds__(kThreads)
    sensitivity_focal_loss_kernel(const T* logits, Focal call, Rule<Real> rule, int rows_per_tile, Real* loss,
                                  Real* parts, unsigned* counter, void* grads) {
    constexpr int kPack = 16 / sizeof(T);
    using Grad = std::conditional_t<std::is_same_v<T, __half>, float, T>;
    Real* of_row = dynamic_shared<Real>();  // losses without weight, where rows are summed
    auto* grad_logits = static_cast<Grad*>(grads);
    const bool elementwise = call.reduction == Reduction::kNone, sum_rows = sums_rows(call);
    const Real factor = factor_of<Real>(call);

    const int thread = static_cast<int>(threadIdx.x);
    Real total = 0;
    for (std::int64_t tile = blockIdx.x;; tile += gridDim.x) {
        const std::int64_t first_row = tile * rows_per_tile, first = first_row * call.classes;
        const std::int64_t left = call.rows - first_row;
        if (left <= 0) break;
        const int rows = left < rows_per_tile ? static_cast<int>(left) : rows_per_tile;
        const int lead = static_cast<int>(first % kPack), end = lead + rows * call.classes;  // from the first pack on
        for (int begin = thread * kPack; begin < end; begin += kThreads * kPack) {
            const Span span{first - lead + begin, begin < lead ? lead - begin : 0,
                            end - begin < kPack ? end - begin : kPack};
            const int offset = begin + span.first - lead, row = offset / call.classes;
            const auto all = read<Real, kPack>(logits, call, rule, span, first_row + row, offset - row * call.classes);
            Real weighted[kPack], slope[kPack];
            Pack<Real, kPack> value;
#pragma unroll
            for (int i = 0; i < kPack; ++i) {
                const auto found = focal_element<kSquare>(all.logit[i], all.label[i], rule.focal);
                value.values[i] = (all.kept & 1u << i) != 0 ? found.loss * factor : 0;
                weighted[i] = found.loss * all.weight[i];
                slope[i] = found.slope * all.weight[i] * factor;
                total += weighted[i];
            }
            if (elementwise) store_pack(loss, span, weighted);
            if (grad_logits != nullptr) store_pack(grad_logits, span, slope);
            if (sum_rows)
                reinterpret_cast<Pack<Real, kPack>*>(of_row)[begin / kPack] = value;
            else if (call.grad_weights.data != nullptr)
                store_pack(call.grad_weights, span, value.values);
        }
        if (!sum_rows) continue;
        __syncthreads();
        for (int own = thread / 32; own < rows; own += kThreads / 32) {
            Real sum = 0;
            for (int c = thread % 32; c < call.classes; c += 32) sum += of_row[lead + own * call.classes + c];
            sum = warp_sum(sum);
            if (thread % 32 == 0) store(call.grad_weights, first_row + own, sum);
        }
        __syncthreads();
    }
    if (!elementwise) grid_sum<kThreads>(total * factor, parts, counter, loss);
}

/// Tiles of eight rows or a multiple begin where packs do.
std::int64_t tile_rows(std::int64_t classes) {
    const std::int64_t rows = kTile / classes;
    return rows >= 8 ? rows / 8 * 8 : std::max<std::int64_t>(1, rows);
}

template <class T, class Real>
void start(const T* logits, const Focal& call, double alpha, double gamma, double smoothing, int blocks, Real* loss,
           Real* parts, unsigned* counter, View grads, cudaStream_t stream) {
    const Rule<Real> rule{focal_rule<Real>(alpha, gamma), static_cast<Real>(1.0 - smoothing),
                          static_cast<Real>(smoothing / (call.classes + 1.0))};
    const std::int64_t rows_per_tile = tile_rows(call.classes);
    const std::size_t packs = 2 + rows_per_tile * call.classes * sizeof(T) / 16;  // the outer ones may be parts
    const std::size_t shared = sums_rows(call) ? packs * 16 / sizeof(T) * sizeof(Real) : 0;
    const auto kernel =
        gamma == 2.0 ? &sensitivity_focal_loss_kernel<T, Real, true> : &sensitivity_focal_loss_kernel<T, Real, false>;
    allow_shared(kernel, shared);
    launch(kernel, dim3(blocks), dim3(kThreads), shared, stream, logits, call, rule, static_cast<int>(rows_per_tile),
           loss, parts, counter, reinterpret_cast<void*>(grads.address));
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
                     static_cast<Reduction>(reduction),
                     Sink(grad_weights)};
    const auto with = [&](auto* data, auto real) {
        using Real = decltype(real);
        start(data, call, alpha, gamma, label_smoothing, static_cast<int>(blocks),
              reinterpret_cast<Real*>(loss.address), reinterpret_cast<Real*>(parts),
              reinterpret_cast<unsigned*>(counter), grad_logits, as_stream(stream));
    };
    switch (static_cast<Dtype>(logits.dtype)) {
        case Dtype::kFloat64:
            return with(reinterpret_cast<const double*>(logits.address), 0.0);
        case Dtype::kFloat16:
            return with(reinterpret_cast<const __half*>(logits.address), 0.0f);
        case Dtype::kBFloat16:
            return with(reinterpret_cast<const __nv_bfloat16*>(logits.address), 0.0f);
        default:
            return with(reinterpret_cast<const float*>(logits.address), 0.0f);
    }
}

}  // namespace asl::cuda
