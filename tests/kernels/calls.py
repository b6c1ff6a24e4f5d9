# SPDX-License-Identifier: Apache-2.0
"""Small calls of every Triton launcher in every floating type, for ahead-of-time compilation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from asl_fast.ops import _dispatch
from tests.kernels import examples
from tests.kernels.examples._scene import Size

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
# Triton compiles a size of 1 as a constant, which its interpreter does not show.
SIZES = [*(Size(dtype, rows=1024, classes=20) for dtype in FLOATS), Size(torch.float32, *[1] * 5)]

Call = tuple[str, Callable[..., Any], tuple[Any, ...]]

CALLS: list[Call] = [
    (call.name, _dispatch.load(call.op, "triton"), (call.operands,))
    for size in SIZES
    for module in examples.MODULES
    for call in module.calls(size)
]
