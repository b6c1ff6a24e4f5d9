# SPDX-License-Identifier: Apache-2.0
"""What a call launches: Triton kernels, and operators of PyTorch that would launch a kernel of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from asl_fast.kernels import _launch
from torch.utils._python_dispatch import TorchDispatchMode

from asl_fast.ops import _dispatch

# Views, allocations, and what asks for a type alone.
LAUNCH_NOTHING = {
    "view",
    "split_with_sizes",
    "detach",
    "alias",
    "empty",
    "empty_strided",
    "_unsafe_view",
    "expand",
    "as_strided",
    "unsqueeze",
    "select",
    "slice",
    "promote_types",
}


class Operators(TorchDispatchMode):
    """Records the operators that would launch a kernel of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.paused = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        if name.removeprefix("aten::") not in LAUNCH_NOTHING and not self.paused:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


@contextmanager
def launches(monkeypatch: pytest.MonkeyPatch, *silent: Operators) -> Iterator[list[str]]:
    """Names of the Triton kernels that are launched; what the interpreter does within one is none of ``silent``."""
    seen: list[str] = []
    real = _launch.launch

    def counting(kernel: Any, *arguments: Any, **options: Any) -> None:
        seen.append(kernel.fn.__name__)
        for operators in silent:
            operators.paused = True
        real(kernel, *arguments, **options)
        for operators in silent:
            operators.paused = False

    monkeypatch.setattr(_launch, "launch", counting)
    yield seen


def look_inside(monkeypatch: pytest.MonkeyPatch, ops: Sequence[str], device: str, operators: Operators) -> None:
    """Let ``operators`` record what the Triton launchers of these ops call, as copies of what they are given."""

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(given: Any) -> Any:
            with operators:
                return function(given)

        return run

    for op in ops:
        monkeypatch.setitem(_dispatch._resolved, (op, device, "triton"), watched(_dispatch.load(op, "triton")))
