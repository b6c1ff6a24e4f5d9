# SPDX-License-Identifier: Apache-2.0
"""Convolution of channels-last sequences along time, in the form that is fast on each device."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1, groups: int = 1) -> Tensor:
    """Convolve sequences padded with zeros, so that the length stays, and take every ``stride``-th output.

    Args:
        x: (B, T, in).
        weight: (out, in / groups, k), k odd.
        bias: (out,).
        stride: Distance of the outputs in time steps.
        groups: Number of groups of channels that are convolved apart.

    Returns:
        (B, ceil(T / stride), out).
    """
    dense = stride == groups == 1 and weight.shape[-1] > 1
    if dense and weight.requires_grad and torch.is_grad_enabled() and _is_plain_cpu(x):
        result: Tensor = _DenseConvolution.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return result
    return _convolve(x, weight, bias, stride, groups)


def _is_plain_cpu(x: Tensor) -> bool:
    """Tell whether this is float32 on a CPU, with neither autocast nor tracing in force."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, groups: int) -> Tensor:
    # A (B, T, D) tensor viewed as an image (B, D, 1, T) is in the channels-last memory format, which oneDNN and cuDNN
    # convolve as it is. conv1d on a transposed view gives the same, but copies its input and its output.
    padding = (0, weight.shape[-1] // 2)
    return _last(F.conv2d(_image(x), weight.unsqueeze(2), bias, (1, stride), padding, groups=groups))


class _DenseConvolution(torch.autograd.Function):
    """A dense convolution on a CPU, with the weights' gradient from one product of matrices per tap.

    oneDNN has no fast kernel for the gradient of channels-last weights; this is five times as fast. With zeros behind
    every sequence, a batch shifted by one step is a matrix of the same memory from one row later on.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _convolve(x, weight, bias, 1, 1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            half = weight.shape[-1] // 2
            settings = ([1, 1], [0, half], [1, 1], False, [0, 0], 1, [True, False, False])
            image = torch.ops.aten.convolution_backward(_image(grad), _image(x), weight.unsqueeze(2), None, *settings)
            grad_x = _last(image[0])
        if ctx.needs_input_grad[1]:
            grad_weight = _weight_gradient(grad, x, weight.shape[-1])
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum((0, 1))
        return grad_x, grad_weight, grad_bias


def _weight_gradient(grad: Tensor, x: Tensor, taps: int) -> Tensor:
    """Return the gradient (out, in, taps) of the weights, from outputs' gradient (B, T, out) and inputs (B, T, in)."""
    half, around = taps // 2, taps - 1
    sources = F.pad(x, (0, 0, half, half)).flatten(0, 1)
    results = F.pad(grad, (0, 0, 0, around)).flatten(0, 1)
    rows = len(results) - around
    found = grad.new_empty(taps, grad.shape[-1], x.shape[-1])
    for tap in range(taps):
        torch.mm(results[:rows].t(), sources[tap : tap + rows], out=found[tap])
    return found.permute(1, 2, 0).contiguous()


def _image(x: Tensor) -> Tensor:
    """View (B, T, D) as (B, D, 1, T)."""
    return x.transpose(1, 2).unsqueeze(2)


def _last(image: Tensor) -> Tensor:
    """View (B, D, 1, T) as (B, T, D)."""
    return image.squeeze(2).transpose(1, 2)
