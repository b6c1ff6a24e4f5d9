# SPDX-License-Identifier: Apache-2.0
"""Windowed self-attention over time.

    out_t = sum_u softmax_u(q_t . k_u / sqrt(d) + b_{u-t}) v_u     over valid u with |u - t| <= (window - 1) / 2

Source: ActionFormer (Zhang, Wu, Li, ECCV 2022), section 3.2; the windows follow Longformer (Beltagy et al. 2020).
"""

from __future__ import annotations

import importlib.util

import torch
import torch.nn.functional as F
from torch import Tensor

from asl_fast.backend import forced_backend
from asl_fast.ops import _dispatch, _library
from asl_fast.ops._exporting import is_exporting
from asl_fast.ops._local_attention_exported import exported_attention
from asl_fast.reference import local_attention as reference
from asl_fast.reference.local_attention import BackwardOperands, BackwardOutputs, Operands, Outputs

MIN_CHUNK = 32
MAX_KERNEL_DIM = 256
KERNEL_DTYPES = (torch.float16, torch.bfloat16, torch.float32)

_HAS_TRITON = importlib.util.find_spec("triton") is not None


_op = _library.define(Operands, "local_attention")
_op_backward = _library.define(BackwardOperands, "local_attention_backward")


def _gradients(given: Operands, found: Outputs, grads: Outputs, needed: Operands) -> dict[str, Tensor]:
    operands = BackwardOperands(grad=grads.out, out=found.out, lse=found.lse, **given._asdict())
    results = BackwardOutputs(*_op_backward(*operands))
    return {"q": results.grad_q, "k": results.grad_k, "v": results.grad_v, "bias": results.grad_bias}


_library.differentiable(
    Operands,
    "local_attention",
    _gradients,
    keep_operands=("q", "k", "v", "mask", "bias"),
    keep_outputs=("out", "lse"),
    constant=("lse",),
)

_dispatch.register("local_attention", "reference", reference.local_attention)
_dispatch.register("local_attention", "triton", "asl_fast.kernels.local_attention:local_attention")
_dispatch.register("local_attention_backward", "reference", reference.local_attention_backward)
_dispatch.register("local_attention_backward", "triton", "asl_fast.kernels.local_attention:local_attention_backward")


def local_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, window: int, bias: Tensor | None = None
) -> Tensor:
    """Attend from every position to the ``window`` positions centred on it, by softmax.

    Args:
        q: (B, H, T, d) queries, floating point.
        k: (B, H, T, d) keys.
        v: (B, H, T, d) values.
        mask: (B, T) bool, True where valid. Invalid keys get no weight.
        window: Odd number of positions.
        bias: Optional (H, window), added to the scores by relative position, oldest key first.

    Returns:
        (B, H, T, d); zero at invalid positions.

    Raises:
        ValueError: For an even window or shapes that do not fit.
    """
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window must be odd and positive, found {window}")
    if q.shape != k.shape or q.shape != v.shape or mask.shape != (q.shape[0], q.shape[2]):
        raise ValueError(
            "local_attention needs q, k, v of one shape (B, H, T, d) and mask (B, T), found "
            f"{tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)} and {tuple(mask.shape)}"
        )
    if bias is not None and bias.shape != (q.shape[1], window):
        raise ValueError(f"bias must have shape (heads, window) = {(q.shape[1], window)}, found {tuple(bias.shape)}")
    if is_exporting():
        return exported_attention(q, k, v, mask, window // 2, bias)
    if _takes_kernel(q):
        return Outputs(*_op(*Operands(q=q, k=k, v=v, mask=mask, bias=bias, window=window))).out
    return _chunked(q, k, v, mask, window // 2, bias)


def _takes_kernel(q: Tensor) -> bool:
    """Tell whether the fused kernel runs; elsewhere it is products of chunks, which PyTorch differentiates."""
    if torch.compiler.is_compiling():  # the graph is traced for a device, whatever is forced
        return q.is_cuda and _HAS_TRITON and q.dtype in KERNEL_DTYPES and q.shape[-1] <= MAX_KERNEL_DIM
    forced = forced_backend()
    if forced is None and not q.is_cuda:
        return False
    if forced in ("triton", "cuda"):
        return True  # the dispatch table raises where it cannot run
    return forced is None and _HAS_TRITON and q.dtype in KERNEL_DTYPES and q.shape[-1] <= MAX_KERNEL_DIM


def _chunked(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, radius: int, bias: Tensor | None) -> Tensor:
    # Queries go in chunks against the keys of the chunk and of `radius` positions on both sides: dense small products
    # that waste little, where one product per position would be all overhead.
    batch, heads, length, dim = q.shape
    chunk = max(MIN_CHUNK, radius)
    num_chunks = max(1, -(-length // chunk))
    pad = num_chunks * chunk - length
    if pad:  # otherwise it would only copy
        q, k, v = (F.pad(x, (0, 0, 0, pad)) for x in (q, k, v))
    q, k, v = (x.view(batch, heads, num_chunks, chunk, dim) for x in (q, k, v))
    keys = chunk + 2 * radius
    valid = F.pad(mask, (radius, pad + radius)).unfold(1, keys, chunk)  # (B, n, c + 2r), of the keys of each chunk

    # The key in column j of row i lies j - i - radius positions after the query.
    in_window = torch.ones(chunk, keys, dtype=torch.bool, device=q.device).triu_().tril_(2 * radius)
    allowed = in_window & valid.unsqueeze(2)  # (B, n, c, c + 2r)
    penalty = torch.zeros(allowed.shape, dtype=q.dtype, device=q.device)
    penalty = penalty.masked_fill_(~allowed, torch.finfo(q.dtype).min / 2).unsqueeze(1)
    if bias is not None:
        shift = torch.arange(keys, device=q.device) - torch.arange(chunk, device=q.device).unsqueeze(1)
        penalty = penalty + bias[:, shift.clamp(0, 2 * radius)].unsqueeze(1).to(q.dtype)  # (B, H, n, c, c + 2r)

    scores = (q * q.shape[-1] ** -0.5) @ _with_neighbours(k, radius).transpose(-1, -2) + penalty
    out: Tensor = scores.softmax(-1) @ _with_neighbours(v, radius)
    return out.flatten(2, 3)[:, :, :length] * mask[:, None, :, None].to(out.dtype)


def _with_neighbours(x: Tensor, radius: int) -> Tensor:
    """Widen every chunk of (..., n, c, d) to c + 2 * radius positions, with its neighbours on both sides."""
    if radius == 0:
        return x
    edge = torch.zeros_like(x[..., :1, :radius, :])
    before = torch.cat((edge, x[..., :-1, -radius:, :]), dim=-3)
    after = torch.cat((x[..., 1:, :radius, :], edge), dim=-3)
    return torch.cat((before, x, after), dim=-2)
