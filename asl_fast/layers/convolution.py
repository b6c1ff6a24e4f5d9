# SPDX-License-Identifier: Apache-2.0
"""Convolution of channels-last sequences along time, in the form that is fast on each device."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from asl_fast.layers.product import is_plain_cpu, product, product_over_rows


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
    if stride == groups == 1 and is_plain_cpu(x):
        operands = (x, weight) if bias is None else (x, weight, bias)
        if torch.is_grad_enabled() and any(operand.requires_grad for operand in operands):
            result: Tensor = _DenseConvolution.apply(x, weight, bias)  # type: ignore[no-untyped-call]
            return result
        return _dense(x, weight, bias)
    return _convolve(x, weight, bias, stride, groups)


def _dense(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    # With one thread PyTorch convolves with one tap as a product by the slower library.
    return product(x, weight[..., 0], bias) if weight.shape[-1] == 1 else _convolve(x, weight, bias, 1, 1)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, groups: int) -> Tensor:
    # A (B, T, D) tensor viewed as an image (B, D, 1, T) is in the channels-last memory format, which oneDNN and cuDNN
    # convolve as it is. conv1d on a transposed view gives the same, but copies its input and its output.
    padding = (0, weight.shape[-1] // 2)
    return _last(F.conv2d(_image(x), weight.unsqueeze(2), bias, (1, stride), padding, groups=groups))


class _DenseConvolution(torch.autograd.Function):
    """A dense convolution on a CPU, with the weights' gradient from one product of matrices per tap.

    oneDNN has no fast kernel for the gradient of channels-last weights, but a fast product of matrices.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _dense(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = _input_gradient(grad, x, weight)
        if ctx.needs_input_grad[1]:
            grad_weight = _weight_gradient(grad, x, weight.shape[-1])
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum((0, 1))
        return grad_x, grad_weight, grad_bias


def _input_gradient(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient (B, T, in) of the inputs x, from outputs' gradient (B, T, out)."""
    if weight.shape[-1] == 1:
        return product(grad, weight[..., 0].t())
    half = weight.shape[-1] // 2
    settings = ([1, 1], [0, half], [1, 1], False, [0, 0], 1, [True, False, False])
    image = torch.ops.aten.convolution_backward(_image(grad), _image(x), weight.unsqueeze(2), None, *settings)
    return _last(image[0])


def _weight_gradient(grad: Tensor, x: Tensor, taps: int) -> Tensor:
    """Return the gradient (out, in, taps) of the weights, from outputs' gradient (B, T, out) and inputs (B, T, in).

    All sequences are one matrix, of which an input lies some rows before or behind its output. Outputs whose input
    would lie in another sequence count as zero.
    """
    half, steps, rows = taps // 2, grad.shape[1], grad.shape[0] * grad.shape[1]
    flat, sources = grad.flatten(0, 1), x.flatten(0, 1)
    found = grad.new_zeros(taps, grad.shape[-1], x.shape[-1])
    if rows:
        found[half] = product_over_rows(flat, sources)
    inside = grad.clone() if half else grad
    shifted = inside.flatten(0, 1)
    for by in range(1, min(half, steps - 1) + 1):
        inside[:, :by] = 0.0
        found[half - by] = product_over_rows(shifted[by:], sources[:-by])
    inside[:, :half] = grad[:, :half]
    for by in range(1, min(half, steps - 1) + 1):
        inside[:, steps - by :] = 0.0
        found[half + by] = product_over_rows(shifted[:-by], sources[by:])
    return found.permute(1, 2, 0).contiguous()


def _image(x: Tensor) -> Tensor:
    """View (B, T, D) as (B, D, 1, T)."""
    return x.transpose(1, 2).unsqueeze(2)


def _last(image: Tensor) -> Tensor:
    """View (B, D, 1, T) as (B, T, D)."""
    return image.squeeze(2).transpose(1, 2)
