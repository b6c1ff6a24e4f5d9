# SPDX-License-Identifier: Apache-2.0
"""The counter by which the last program of a launch knows itself, for the Triton and the CUDA launchers."""

from __future__ import annotations

import torch
from torch import Tensor

_counters: dict[tuple[torch.device, int], Tensor] = {}


def counter(tensor: Tensor) -> Tensor:
    """Return (1,) int32 zero on the tensor's device; a launch's last program, or block, writes the zero again.

    Launches on one stream follow each other and share one. A launch that is being captured into a CUDA graph may be
    replayed beside them on any stream: it gets its own, which the graph sets to zero.
    """
    if tensor.is_cuda and torch.cuda.is_current_stream_capturing():
        return torch.zeros(1, dtype=torch.int32, device=tensor.device)
    stream = torch.cuda.current_stream(tensor.device).cuda_stream if tensor.is_cuda else 0
    key = (tensor.device, stream)
    if key not in _counters:
        _counters[key] = torch.zeros(1, dtype=torch.int32, device=tensor.device)
    return _counters[key]
