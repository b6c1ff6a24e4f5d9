# SPDX-License-Identifier: Apache-2.0
"""Runs the tests of the Triton kernels on a GPU where there is one: their launchers get their tensors there.

Without one the tests run the kernels interpreted, on CPU tensors. With one the interpreter is off; the tests stay as
they are, carry the marker ``gpu``, and every launcher they call moves its arguments to the GPU and its results back.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree


def kernel_modules(test: ModuleType) -> list[ModuleType]:
    """List the modules of Triton kernels that a test module has imported."""
    return [
        value
        for value in vars(test).values()
        if inspect.ismodule(value) and value.__name__.startswith("asl_fast.kernels.")
    ]


def launchers(module: ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Its public Python functions; what Triton compiles is none."""
    for name, value in vars(module).items():
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_"):
            yield name, value


def on_device(launcher: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """Make ``launcher`` run CPU tensors on ``device`` and return CPU results; a call with its own passes through."""

    @functools.wraps(launcher)
    def run(*args: Any, **kwargs: Any) -> Any:
        leaves = _pytree.tree_leaves((args, kwargs))
        if not any(isinstance(x, Tensor) and x.device.type == "cpu" for x in leaves):
            return launcher(*args, **kwargs)
        args, kwargs = _pytree.tree_map_only(Tensor, lambda x: _moved(x, device), (args, kwargs))
        return _pytree.tree_map_only(Tensor, lambda x: _moved(x, torch.device("cpu")), launcher(*args, **kwargs))

    return run


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy with the same strides, so that a test of layouts tests the same on the device."""
    if 0 in tensor.stride():  # elements that share memory cannot be written one by one
        return tensor.to(device)
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device).copy_(tensor)


@pytest.fixture(autouse=True)
def triton_launchers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Move the launchers of the test's kernel modules to the GPU, if there is one."""
    if torch.cuda.is_available():
        for module in kernel_modules(request.module):
            for name, launcher in launchers(module):
                monkeypatch.setattr(module, name, on_device(launcher, torch.device("cuda")))


def mark(items: list[pytest.Item]) -> None:
    """Where there is a GPU, tests of Triton kernels are tests on it."""
    if not torch.cuda.is_available():
        return
    for item in items:
        if isinstance(item, pytest.Function) and kernel_modules(item.module):
            item.add_marker(pytest.mark.gpu)
