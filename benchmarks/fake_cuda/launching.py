# SPDX-License-Identifier: Apache-2.0
"""How many kernels and memory operations an operator of PyTorch launches on a GPU, and of which category they are.

Counted from PyTorch's sources: an operator that computes is one launch, but for those listed here. Libraries may add
some of their own (cuDNN transposes, split sums of cuBLAS), so a step has at least as many.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

CATEGORIES = ("convolution/matmul", "attention", "norm", "elementwise", "reduction", "copies/fills", "loss",
              "optimiser")  # fmt: skip

_FREE = {
    "empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided", "detach", "detach_", "alias", "view",
    "_unsafe_view", "_reshape_alias", "is_pinned", "_has_same_storage_numel", "sym_size", "lift_fresh", "set_",
    "record_stream", "is_same_size",
}  # fmt: skip
_PRODUCTS = ("convolution", "mm", "bmm", "addmm", "baddbmm", "addmv", "mv", "dot", "_addmm_activation", "linear")
_NORMS = ("native_layer_norm", "native_group_norm")
_ATTENTION = ("_scaled_dot_product", "_efficient_attention", "_flash_attention", "_softmax")
_COPIES = ("copy_", "_to_copy", "clone", "cat", "stack", "constant_pad_nd", "fill_", "zero_", "zeros", "ones", "full",
           "new_zeros", "new_ones", "new_full", "zeros_like", "ones_like", "full_like", "arange", "slice_backward",
           "select_backward", "contiguous", "scalar_tensor", "repeat", "_foreach_copy_")  # fmt: skip
_REDUCTIONS = ("sum", "mean", "amax", "amin", "max", "min", "any", "all", "linalg_vector_norm", "norm", "argmax",
               "cumsum", "_log_softmax", "logsumexp")  # fmt: skip
_OPTIMISER = ("_fused_", "_foreach_")

# What a kernel over many tensors takes at a time: this many tensors, by how many lists it reads, and chunks.
_TENSORS_AT_A_TIME = {1: 110, 2: 64, 3: 48, 4: 36, 5: 30}
_CHUNKS_AT_A_TIME, _CHUNK = 320, 65536


def launched_by(
    func: Any, args: Sequence[Any], given: Sequence[Tensor], results: Sequence[Tensor]
) -> Iterator[tuple[str, str, int]]:
    """Yield (category, name, number of launches) of one call of an operator.

    Args:
        func: The operator.
        args: Its arguments by position.
        given: Tensors among its arguments.
        results: Tensors that it returned.
    """
    namespace, _, name = func._schema.name.partition("::")
    if namespace != "aten" or name in _FREE or func.is_view or not any(x.numel() for x in (*given, *results)):
        return
    if name.startswith("_foreach_norm"):
        # Partial sums of all tensors, then their roots.
        yield "optimiser", name, 1 + _over_many([args[0]])
    elif name.startswith(_OPTIMISER):
        # Parameters, gradients and moments of a fused optimiser; its counts of steps are no list of the kernel.
        lists = [x for x in args[:4] if isinstance(x, (list, tuple)) and x and isinstance(x[0], Tensor)]
        yield "optimiser", name, _over_many(lists)
    elif name.startswith("convolution_backward"):
        yield "convolution/matmul", name, sum(args[-1][:2])
        if args[-1][2]:
            yield "reduction", f"{name}: bias", 1
    elif name == "native_layer_norm_backward":
        yield "norm", name, 1 + int(args[-1][1] or args[-1][2])
    else:
        yield _category(name), name, 1


def _category(name: str) -> str:
    kinds = {"convolution/matmul": _PRODUCTS, "norm": _NORMS, "copies/fills": _COPIES, "reduction": _REDUCTIONS}
    if name.startswith(_ATTENTION):
        return "attention"
    return next((kind for kind, names in kinds.items() if name.removesuffix("_backward") in names or name in names),
                "elementwise")  # fmt: skip


def _over_many(lists: Sequence[Sequence[Tensor]]) -> int:
    """Count the launches of a kernel that goes over all tensors of several lists at once."""
    most, launches, tensors, chunks = _TENSORS_AT_A_TIME[min(len(lists), 5)], 0, 0, 0
    for tensor in lists[0]:
        tensors += 1
        for _ in range(-(-tensor.numel() // _CHUNK)):
            chunks += 1
            if chunks == _CHUNKS_AT_A_TIME:
                launches, tensors, chunks = launches + 1, 1, 0
        if tensors >= most:
            launches, tensors, chunks = launches + 1, 0, 0
    return launches + (chunks > 0)
