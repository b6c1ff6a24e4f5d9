# SPDX-License-Identifier: Apache-2.0
"""One realistic call of every op that has a kernel, and the calls that are compiled ahead of time.

Each op has a file of its name here, with ``EXAMPLES``, which makes the operands of every op that it registers, and
``calls``, which gives what is compiled ahead of time. Both are found by listing this folder.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from asl_fast.ops import _library

Operands = Any  # of asl_fast.reference.<op>

MODULES: list[ModuleType] = [
    importlib.import_module(f"{__name__}.{found.name}")
    for found in pkgutil.iter_modules(__path__)
    if not found.name.startswith("_")
]
EXAMPLES: dict[str, Callable[[torch.Generator], Operands]] = {
    op: make for module in MODULES for op, make in module.EXAMPLES.items()
}


def arguments(op: str, device: torch.device | str = "cpu", seed: int = 0) -> Operands:
    """Return the operands of one call of ``op`` on ``device``; the same values on every device."""

    def placed(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.detach().to(device).requires_grad_(value.requires_grad)

    return _library.OPERANDS[op](*map(placed, EXAMPLES[op](torch.Generator().manual_seed(seed))))
