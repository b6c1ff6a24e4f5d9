# SPDX-License-Identifier: Apache-2.0
"""What the launchers share: output buffers, precisions, block sizes, and whether Triton's interpreter runs the kernels.

A block size comes from a function of the shapes, not from autotuning: it is the same in every run, so results are too,
and nothing is measured while a CUDA graph is captured. The sizes follow from the arithmetic in each docstring; no GPU
has timed them yet.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import triton.language as tl
from torch import Tensor

from . import _handles

# Triton reads the variable when it decorates, so it is settled once this package is imported.
INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"

# Options of the kernels that stream: fused multiply-adds by name, as the default changes from Triton 3.10 on.
FUSED = {"num_warps": 4, "enable_fp_fusion": True}

_NOTHING = nullcontext()


def empty(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return an uninitialised output or scratch buffer; all are made here, so that tests can put fences around them."""
    return torch.empty(tuple(shape), dtype=dtype, device=device)


def on_device_of(tensor: Tensor) -> AbstractContextManager[object]:
    """Make the tensor's device the current one, to which launches go."""
    if not tensor.is_cuda or tensor.device.index == torch.cuda.current_device():
        return _NOTHING
    return torch.cuda.device(tensor.device)


def is_hip() -> bool:
    """Tell whether kernels are compiled for AMD."""
    return torch.version.hip is not None


def register_limit(registers: int) -> dict[str, int]:
    """Limit the registers of a thread by an option of a launch; none on AMD, whose compiler takes no limit."""
    return {} if is_hip() else {"maxnreg": registers}


def compute_type(*tensors: Tensor | None) -> tuple[torch.dtype, tl.dtype]:
    """Return float64 if any tensor is, else float32, for torch and for Triton."""
    wide = any(t is not None and t.dtype == torch.float64 for t in tensors)
    return (torch.float64, tl.float64) if wide else (torch.float32, tl.float32)


def triton_type(dtype: torch.dtype) -> tl.dtype:
    """Return Triton's name of float32 or float64."""
    return tl.float64 if dtype == torch.float64 else tl.float32


def contiguous(operand: Tensor | None) -> Tensor | None:
    """Return the operand without gaps, or None where it is missing: the kernel then leaves it out."""
    return None if operand is None else operand.contiguous()


def or_none(output: Tensor) -> Tensor | None:
    """Return an output, or None where it has no elements: the kernel then leaves it out."""
    return output if output.numel() else None


def row_tile(columns: int, elements: int) -> tuple[int, int]:
    """Choose (rows, columns) of a tile of ``elements`` over rows of ``columns`` contiguous values, powers of two.

    The widest tile that processes at most a quarter more lanes than the best width would: 20 columns take one step of
    32, 65 three of 32, 300 five of 64. Nothing below 16, so that a step touches whole sectors of memory.
    """
    padded = {width: -(-columns // width) * width for width in (16, 32, 64, 128)}
    best = min(padded.values())
    width = max(width for width, lanes in padded.items() if lanes <= 1.25 * best)
    return elements // width, width


def launch(kernel: Any, grid: Sequence[int], *arguments: object, **options: object) -> None:
    """Launch a kernel on a grid of programs; every launch goes through here, so that tests and tools can note it.

    Args:
        kernel: A function under ``triton.jit``.
        grid: Number of programs, by axis.
        arguments: Of the kernel, by position.
        options: Arguments by name, and options of the compiler (``num_warps``, ``maxnreg``, ...).
    """
    _handles.launch(kernel, tuple(grid), arguments, options)
