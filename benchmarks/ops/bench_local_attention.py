# SPDX-License-Identifier: Apache-2.0
"""Windowed attention forward and backward at the finest level of each benchmark that has it.

Against the same formula on unfolded neighbourhoods ("eager"), PyTorch's own attention under a band-shaped mask, and on
a GPU PyTorch's compiled FlexAttention.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from asl_fast.ops.local_attention import local_attention
from asl_fast.reference.local_attention import Operands, unfolded_attention
from benchmarks.registry import Case, Scale, close
from benchmarks.shapes import NAMES, shape

Result = tuple[Tensor, ...]


def cases(device: str) -> list[Case]:
    """Declare batches padded to full length, one video a tenth shorter than the other."""
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    found: dict[tuple[int, ...], str] = {}
    for name in NAMES:
        config = shape(name).config
        model, window = config.model, config.model.attention_windows[0]
        sizes = (config.batch_size, model.num_heads, config.data.max_length, model.width // model.num_heads, window)
        if window:
            found[sizes] = f"{found[sizes]}, {name}" if sizes in found else name
    return [
        _case(device, "small", (2, 2, 64, 16, 9), torch.float32, "small"),
        *(_case(device, name, sizes, dtype) for sizes, name in found.items()),
        _case(device, "large", (8, 8, 8_192, 64, 19), dtype, "large"),
    ]


def _case(device: str, name: str, sizes: tuple[int, ...], dtype: torch.dtype, scale: Scale = "real") -> Case:
    batch, heads, length, dim, window = sizes

    def make_inputs() -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(0)
        q, k, v, grad = (torch.randn(4, batch, heads, length, dim, generator=generator)).to(device, dtype)
        valid = torch.tensor([length if row % 2 == 0 else length * 9 // 10 for row in range(batch)], device=device)
        mask = torch.arange(length, device=device) < valid[:, None]
        return q.requires_grad_(), k.requires_grad_(), v.requires_grad_(), mask, grad

    def with_gradients(forward: Callable[..., Tensor]) -> Callable[..., Result]:
        def run(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, grad: Tensor) -> Result:
            q.grad = k.grad = v.grad = None
            out = forward(q, k, v, mask)
            out.backward(grad)
            assert q.grad is not None and k.grad is not None and v.grad is not None
            return out.detach(), q.grad, k.grad, v.grad

        return run

    def eager(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        return unfolded_attention(Operands(q=q, k=k, v=v, mask=mask, bias=None, window=window))

    def masked(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=_band(mask, window))
        return out * mask[:, None, :, None].to(out.dtype)

    baselines: dict[str, Callable[..., Any]] = {
        "eager": with_gradients(eager),
        "masked attention": with_gradients(masked),
    }
    if device == "cuda":
        baselines["FlexAttention"] = with_gradients(functools.partial(_flex, window=window))
    element = torch.empty((), dtype=dtype).element_size()
    return Case(
        f"{name}: {batch} x {heads} x {length} x {dim}, window {window}",
        make_inputs,
        with_gradients(functools.partial(local_attention, window=window)),
        baselines,
        # Forward reads q, k, v and writes out; backward reads those four and the gradient, and writes three.
        bytes_moved=12 * batch * heads * length * dim * element,
        scale=scale,
        agree=close(2e-2, 2e-2) if dtype == torch.bfloat16 else close(1e-4, 1e-4),
    )


def _band(mask: Tensor, window: int) -> Tensor:
    """Return (B, 1, T, T) bool: valid keys within the window; a query without any sees itself, its output is zeroed."""
    at = torch.arange(mask.shape[1], device=mask.device)
    near = (at[:, None] - at).abs() <= window // 2
    return ((near & mask[:, None, :]) | (at[:, None] == at))[:, None]


def _flex(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, window: int) -> Tensor:
    compiled, blocks = _flex_attention(), _block_mask(mask, window)
    out: Tensor = compiled(q, k, v, block_mask=blocks)
    return out * mask[:, None, :, None].to(out.dtype)


@functools.cache
def _flex_attention() -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False)


_masks: dict[tuple[int, int], Any] = {}


def _block_mask(mask: Tensor, window: int) -> Any:
    """Make it once for each mask, as a model would: not part of the time."""
    from torch.nn.attention.flex_attention import create_block_mask

    key = (mask.data_ptr(), window)
    if key not in _masks:
        _masks.clear()
        batch, length = mask.shape
        _masks[key] = create_block_mask(
            lambda b, h, query, at: ((query - at).abs() <= window // 2) & (mask[b, at] | (query == at)),
            batch,
            None,
            length,
            length,
            device=mask.device.type,
        )
    return _masks[key]
