# SPDX-License-Identifier: Apache-2.0
"""How tensors are handed to the compiled modules: addresses and dtype codes, numbered as in csrc/cpu/buffers.h."""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor

from asl_fast import native

DTYPES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}
REDUCTIONS = {"none": 0, "sum": 1, "mean": 2}


def cpu_module() -> ModuleType:
    """The C++ module; the dispatch table has asked whether it is there."""
    module = native.cpu_module()
    assert module is not None
    return module


def address(tensor: Tensor | None) -> int:
    """Where a contiguous tensor lies; 0 for None and for one without elements."""
    return 0 if tensor is None else tensor.data_ptr()


def view(tensor: Tensor | None) -> tuple[int, int]:
    """Address and dtype code of a contiguous floating-point tensor."""
    return (0, 0) if tensor is None else (tensor.data_ptr(), DTYPES[tensor.dtype])
