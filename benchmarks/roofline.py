# SPDX-License-Identifier: Apache-2.0
"""What this machine can do at most, measured: copying memory, and multiplying matrices."""

from __future__ import annotations

from typing import NamedTuple

import torch

from benchmarks.timing import measure


class Ceilings(NamedTuple):
    """Rates per second.

    Attributes:
        copy_bytes: Read and written by a large copy.
        matrix_flops: Rate of a large square product, float32 on the CPU, bfloat16 on CUDA; on the CPU that of a
            convolution where it is higher, which another library computes.
    """

    copy_bytes: float
    matrix_flops: float


def ceilings(device: str, *, quick: bool = False, cpu_time: bool = False) -> Ceilings:
    """Measure both, on random numbers: zeros are faster to multiply on a GPU.

    The best fifth of the rounds counts, not the median: a ceiling that a disturbance lowers would flatter everything.
    """
    count = (16 if quick else 64) << 20
    source, destination = torch.randn(count, device=device), torch.empty(count, device=device)
    seconds = 0.2 if quick else 2.0
    copy = measure(
        {"copy": torch.Tensor.copy_}, (destination, source), device=device, seconds=seconds, cpu_time=cpu_time
    )["copy"]
    size, dtype = (8192, torch.bfloat16) if device == "cuda" else (1024, torch.float32)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    product = measure({"product": torch.mm}, (a, b), device=device, seconds=seconds, cpu_time=cpu_time)["product"]
    rates = [2 * size**3 / product.low]
    if device == "cpu":
        image = torch.randn(1, 512, 1, 2304).contiguous(memory_format=torch.channels_last)
        inputs = (image, torch.randn(512, 512, 1, 3))
        layer = measure({"layer": torch.conv2d}, inputs, device=device, seconds=seconds, cpu_time=cpu_time)["layer"]
        rates.append(2 * inputs[1].numel() * (2304 - 2) / layer.low)
    return Ceilings(2 * source.nbytes / copy.low, max(rates))
