# SPDX-License-Identifier: Apache-2.0
"""Second stage of a sum over all programs, in an order that depends on the sizes alone."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from . import _launch

BLOCK = 1024


@triton.jit(do_not_specialize=["count"])
def sum_kernel(parts_ptr, total_ptr, count, BLOCK: tl.constexpr):
    """Set total[0] = sum(parts[:count]) by one program, in the dtype of ``parts``."""
    lanes = tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), dtype=parts_ptr.dtype.element_ty)
    for first in range(0, count, BLOCK):
        total += tl.load(parts_ptr + first + lanes, mask=first + lanes < count, other=0.0)
    tl.store(total_ptr, tl.sum(total, 0))


def total(parts: Tensor, result: Tensor) -> None:
    """Write the sum of a flat float32 or float64 tensor into ``result`` (), of the same dtype."""
    _launch.launch(sum_kernel, (1,), parts, result, parts.numel(), BLOCK=BLOCK, **_launch.FUSED)
