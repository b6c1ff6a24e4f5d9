# SPDX-License-Identifier: Apache-2.0
"""The precision every op computes in: float32, or float64 as soon as one input is float64."""

from __future__ import annotations

import torch
from torch import Tensor


def compute_dtype(*tensors: Tensor | None) -> torch.dtype:
    """Return float64 if any tensor is, else float32: half precision is computed, summed and returned in float32."""
    for tensor in tensors:
        if tensor is not None and tensor.dtype == torch.float64:
            return torch.float64
    return torch.float32


def unit_gradient_dtype(tensor: Tensor) -> torch.dtype:
    """Return the dtype in which a gradient waits for its factor: float32 for float16, whose range it may leave."""
    return torch.float32 if tensor.dtype == torch.float16 else tensor.dtype
