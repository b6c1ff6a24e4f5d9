# SPDX-License-Identifier: Apache-2.0
"""Where the results of an op, and the scratch memory of its compiled implementations, come from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def empty(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return an uninitialised tensor.

    Every result of an op is allocated here, by the ``outputs`` of its operands, so that tests can put fences around it.
    """
    # A plain tuple: torch.Size takes torch.empty half a microsecond longer.
    return torch.empty(tuple(shape), dtype=dtype, device=device)


def empty_unless(needed: bool, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return an uninitialised tensor, or one of shape (0,) where it is not needed."""
    return empty(shape if needed else (0,), dtype, device)
