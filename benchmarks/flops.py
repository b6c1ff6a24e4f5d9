# SPDX-License-Identifier: Apache-2.0
"""Floating-point operations of one call: matrix products and convolutions, as torch counts them, and our attention."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, register_flop_formula

import asl_fast.ops  # noqa: F401 - defines the operators that are counted


def count_flops(call: Callable[[], Any]) -> int:
    """Count the operations of matrix products, convolutions and attention; a product of a and b counts twice a b.

    What is left out (norms, activations, losses, the optimiser) reads and writes memory, and is no part of the floor.
    """
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def _of_attention(query: tuple[int, ...], window: int, products: int) -> int:
    """Return the operations of ``products`` products of each query (B, H, T, d) with ``window`` keys."""
    videos, heads, steps, channels = query
    return 2 * products * videos * heads * steps * window * channels


@register_flop_formula(torch.ops.asl_fast.local_attention)  # type: ignore[untyped-decorator]
def _forward(q: Any, k: Any, v: Any, mask: Any, bias: Any, window: int, **_: Any) -> int:
    return _of_attention(q, window, 2)


@register_flop_formula(torch.ops.asl_fast.local_attention_backward)  # type: ignore[untyped-decorator]
def _backward(
    grad: Any, q: Any, k: Any, v: Any, mask: Any, bias: Any, out: Any, lse: Any, window: int, **_: Any
) -> int:
    return _of_attention(q, window, 5)


def _of_product(x: tuple[int, ...], weight: tuple[int, int], *_: Any, **__: Any) -> int:
    return int(2 * math.prod(x) * weight[0])


if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
    register_flop_formula(torch.ops.mkldnn._linear_pointwise)(_of_product)
