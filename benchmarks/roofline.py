# SPDX-License-Identifier: Apache-2.0
"""What this machine can do at most, measured: copying memory, multiplying matrices, and convolving."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.timing import measure


class Ceilings(NamedTuple):
    """Rates per second.

    The two rates of arithmetic differ because PyTorch gives products to one library and convolutions to another: on a
    CPU to MKL, which on processors that are not Intel's reaches half of what they can do, and to oneDNN.

    Attributes:
        copy_bytes: Read and written by a large copy.
        matrix_flops: Of ``torch.mm`` of large square matrices, float32 on the CPU, bfloat16 on CUDA: what is meant by a
            machine's matrix rate, and the floor of a training step.
        convolution_flops: Of a convolution as wide as the published models', float32 on the CPU; 0 on CUDA, where
            products run at the highest rate there is.
    """

    copy_bytes: float
    matrix_flops: float
    convolution_flops: float = 0.0

    @property
    def best_flops(self) -> float:
        """The highest rate that any library showed."""
        return max(self.matrix_flops, self.convolution_flops)

    def words(self) -> str:
        """Say all of them in a line."""
        rates = {"matrix product": self.matrix_flops, "convolution": self.convolution_flops}
        measured = [f"{name} {rate / 1e9:,.0f} GFLOP/s" for name, rate in rates.items() if rate]
        return ", ".join([f"copy {self.copy_bytes / 1e9:.1f} GB/s", *measured])


def ceilings(device: str, *, quick: bool = False, cpu_time: bool = False) -> Ceilings:
    """Measure all of them, on random numbers: zeros are faster to multiply on a GPU.

    The best fifth of the rounds counts, not the median: a ceiling that a disturbance lowers would flatter everything.
    """
    count = (16 if quick else 64) << 20
    seconds = 0.2 if quick else 2.0

    def fastest(call: Callable[..., Any], *inputs: Tensor) -> float:
        return measure({"call": call}, inputs, device=device, seconds=seconds, cpu_time=cpu_time)["call"].low

    source, destination = torch.randn(count, device=device), torch.empty(count, device=device)
    copied = 2 * source.nbytes / fastest(torch.Tensor.copy_, destination, source)
    size, dtype = (8192, torch.bfloat16) if device == "cuda" else (1024, torch.float32)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    multiplied = 2 * size**3 / fastest(torch.mm, a, b)
    if device == "cuda":
        return Ceilings(copied, multiplied)
    image = torch.randn(1, 512, 1, 2304).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(512, 512, 1, 3)
    convolved = 2 * weight.numel() * (2304 - 2) / fastest(torch.conv2d, image, weight)
    return Ceilings(copied, multiplied, convolved)
