# SPDX-License-Identifier: Apache-2.0
"""How tensors are handed to the compiled modules: addresses and dtype codes, numbered as in csrc/cpu/buffers.h."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any, TypeVar, get_type_hints

import torch
from torch import Tensor

from asl_fast import native

Operands = TypeVar("Operands", bound=tuple[Any, ...])

DTYPES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}
REDUCTIONS = {"none": 0, "sum": 1, "mean": 2}


def cpu_module() -> ModuleType:
    """Return the C++ module, which the dispatch table has found to be there."""
    module = native.cpu_module()
    assert module is not None
    return module


def cuda_module() -> ModuleType:
    """Return the CUDA module, which the dispatch table has found to be there."""
    module = native.cuda_module()
    assert module is not None
    return module


def address(tensor: Tensor | None) -> int:
    """Return the address of a contiguous tensor; 0 for None and for one without elements."""
    return 0 if tensor is None or not tensor.numel() else tensor.data_ptr()


def view(tensor: Tensor | None) -> tuple[int, int]:
    """Return address and dtype code of a contiguous floating-point tensor; address as :func:`address` gives it."""
    return (0, 0) if tensor is None else (tensor.data_ptr() if tensor.numel() else 0, DTYPES[tensor.dtype])


def contiguous_operands(given: Operands) -> Operands:
    """Return the same operands with every tensor contiguous; the caller keeps them alive during a call."""
    if not any([isinstance(value, Tensor) and not value.is_contiguous() for value in given]):
        return given  # the usual case, found in a third of the time
    return type(given)(*[value.contiguous() if isinstance(value, Tensor) else value for value in given])


def numbers(operands: type[Any]) -> tuple[str, ...]:
    """Names of the operands that are not tensors, which a struct of the compiled modules takes together."""
    types = get_type_hints(operands)
    return tuple(field for field in operands._fields if types[field] not in (Tensor, Tensor | None))


def on_device_of(tensor: Tensor) -> AbstractContextManager[object]:
    """Make the tensor's device the current one, to which launches go."""
    if not tensor.is_cuda or tensor.device.index == torch.cuda.current_device():
        return nullcontext()
    return torch.cuda.device(tensor.device)


def stream(tensor: Tensor) -> int:
    """Return the stream that work on the tensor's device is queued on, as the launchers take it."""
    return int(torch.cuda.current_stream(tensor.device).cuda_stream) if tensor.is_cuda else 0
