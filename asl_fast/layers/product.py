# SPDX-License-Identifier: Apache-2.0
"""Products of matrices on a CPU, by the library that is the fastest there.

PyTorch gives float32 products to MKL, which on processors that are not Intel's reaches half of what they can do
(measured on an AMD EPYC with AVX-512: 105 of 250 GFLOP/s per core). oneDNN, which convolves for PyTorch and comes with
it, reaches 90 % there, with one thread as with several, and from a hundred rows on.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FEWEST_ROWS, MOST_ROWS = 256, 1536
"""Of a sum over rows by oneDNN: with fewer, arranging the operands takes longer than it saves; more leave the cache."""


def _find_onednn() -> bool:
    """Tell whether oneDNN's product is there and has kernels of its own for this processor."""
    kernels = torch.backends.cpu.get_cpu_capability().startswith("AVX")
    here = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return kernels and here and hasattr(torch.ops.mkldnn, "_linear_pointwise")


_HAS_ONEDNN = _find_onednn()


def is_plain_cpu(x: Tensor) -> bool:
    """Tell whether this is float32 on a CPU, with neither autocast nor tracing in force."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Map x (..., in) to x weight^T + bias (..., out); float32 on a CPU, and no gradient comes back.

    Args:
        x: (..., in).
        weight: (out, in), any strides.
        bias: (out,).
    """
    if not _HAS_ONEDNN or not x.numel() or not weight.numel():
        return F.linear(x, weight, bias)
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


def product_over_rows(a: Tensor, b: Tensor) -> Tensor:
    """Return a^T b, (m, n), for a (rows, m) and b (rows, n), float32 on a CPU; all zeros where there is no row."""
    rows = len(a)
    if not _HAS_ONEDNN or rows < FEWEST_ROWS:
        return a.t() @ b
    total = a.new_zeros(a.shape[1], b.shape[1])
    parts = -(-rows // MOST_ROWS)
    for part in range(parts):
        chunk = slice(part * rows // parts, (part + 1) * rows // parts)
        total += _gradient_of_one_tap(a[chunk], b[chunk])
    return total


def _gradient_of_one_tap(a: Tensor, b: Tensor) -> Tensor:
    # This sum is what the weights of a convolution with one tap get from outputs' gradient a at inputs b. A dilation
    # means nothing for one tap, but keeps PyTorch from the slower library, which it takes with one thread.
    grad, image = (rows.unsqueeze(0).transpose(1, 2).unsqueeze(2) for rows in (a, b))
    settings = ([1, 1], [0, 0], [2, 2], False, [0, 0], 1, [False, True, False])
    weight = a.new_empty(a.shape[1], b.shape[1], 1, 1)
    gradient: Tensor = torch.ops.aten.convolution_backward(grad, image, weight, None, *settings)[1]
    return gradient.view(a.shape[1], b.shape[1])
