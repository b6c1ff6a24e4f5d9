# SPDX-License-Identifier: Apache-2.0
"""asl_fast::segment_iou_ragged and asl_fast::segment_iou_ragged_backward by the C++ module."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from asl_fast.ops._buffers import cpu_module
from asl_fast.reference._precision import compute_dtype


class _Videos(NamedTuple):
    """Contiguous inputs, both sides in the dtype of the result."""

    a: Tensor
    b: Tensor
    a_offsets: Tensor
    b_offsets: Tensor

    def arguments(self, distance: bool) -> dict[str, int]:
        """What both functions of the module take of them."""
        return {
            "a": self.a.data_ptr(),
            "b": self.b.data_ptr(),
            "a_offsets": self.a_offsets.data_ptr(),
            "b_offsets": self.b_offsets.data_ptr(),
            "videos": self.a_offsets.shape[0] - 1,
            "is_double": self.a.dtype == torch.float64,
            "distance": distance,
            "threads": torch.get_num_threads(),
        }


def _videos(a: Tensor, b: Tensor, a_offsets: Tensor, b_offsets: Tensor) -> _Videos:
    dtype = compute_dtype(a, b)
    return _Videos(a.to(dtype).contiguous(), b.to(dtype).contiguous(), a_offsets.contiguous(), b_offsets.contiguous())


def segment_iou_ragged(
    a: Tensor, b: Tensor, a_offsets: Tensor, b_offsets: Tensor, max_pairs: int, distance: bool
) -> tuple[Tensor, Tensor]:
    """The op's schema; threads as many as ``torch.get_num_threads()``, over parts of the videos."""
    videos = _videos(a, b, a_offsets, b_offsets)
    values = torch.empty(max_pairs, dtype=videos.a.dtype)
    offsets = torch.empty(a_offsets.shape, dtype=torch.int64)
    cpu_module().segment_iou_ragged(
        values=values.data_ptr(), offsets=offsets.data_ptr(), max_pairs=max_pairs, **videos.arguments(distance)
    )
    return values, offsets


def segment_iou_ragged_backward(
    grad: Tensor, a: Tensor, b: Tensor, a_offsets: Tensor, b_offsets: Tensor, offsets: Tensor, distance: bool
) -> tuple[Tensor, Tensor]:
    """The op's schema; the order of every sum depends on the offsets alone."""
    videos = _videos(a, b, a_offsets, b_offsets)
    grad = grad.to(videos.a.dtype).contiguous()
    grad_a, grad_b = torch.empty(a.shape, dtype=grad.dtype), torch.empty(b.shape, dtype=grad.dtype)
    cpu_module().segment_iou_ragged_backward(
        grad=grad.data_ptr(), grad_a=grad_a.data_ptr(), grad_b=grad_b.data_ptr(), **videos.arguments(distance)
    )
    return grad_a.to(a.dtype), grad_b.to(b.dtype)
