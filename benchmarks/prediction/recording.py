# SPDX-License-Identifier: Apache-2.0
"""What a benchmark case would start on a GPU, noted on the CPU: the project's kernels, and PyTorch's own beside them.

The case runs on real CPU tensors that it takes for tensors of a GPU; every kernel of the project is noted in place of
being launched, with the arguments it would get. Results that a kernel would write stay unwritten, but for the ops whose
results decide what happens next (``VALUES_NEEDED``): the C++ implementation computes those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from asl_fast.backend import backend
from asl_fast.ops import _dispatch
from benchmarks.prediction.launches import Launch, noted
from benchmarks.registry import Case

VALUES_NEEDED = ("soft_nms", "assign_points")
# Operators of PyTorch that start no kernel: allocations and what only looks at a tensor another way.
NO_KERNEL = frozenset({"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach", "lift_fresh"})


class TorchLaunch:
    """One operator of PyTorch that starts a kernel; attributes: ``name``, ``bytes`` read and written once."""

    def __init__(self, name: str, tensors: Sequence[Tensor]) -> None:
        self.name = name
        self.bytes = sum(moved(tensor) for tensor in tensors)


Noted = Launch | TorchLaunch


def moved(tensor: Tensor) -> int:
    """Bytes of a tensor's distinct elements: what is expanded lies in memory once."""
    sizes = zip(tensor.shape, tensor.stride(), strict=True)
    count = 1
    for size, stride in sizes:
        count *= size if stride else 1
    return count * tensor.element_size() if tensor.numel() else 0


class _HereForThere(TorchFunctionMode):
    """Puts on the CPU what is asked for on CUDA."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return function(*map(_here, args), **{name: _here(value) for name, value in (kwargs or {}).items()})


def _here(value: Any) -> Any:
    if isinstance(value, torch.device) and value.type == "cuda":
        return torch.device("cpu")
    return "cpu" if isinstance(value, str) and value.partition(":")[0] == "cuda" else value


class _Operators(TorchDispatchMode):
    """Notes every operator of PyTorch that would start a kernel."""

    def __init__(self, note: Callable[[TorchLaunch], None]) -> None:
        super().__init__()
        self.note = note

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        name = function._schema.name.removeprefix("aten::")
        if function.namespace != "aten" or name in NO_KERNEL or function.is_view:
            return result
        tensors = [x for x in (*_tensors(args), *_tensors((kwargs or {}).values()), *_tensors((result,)))]
        if any(tensor.numel() for tensor in tensors):
            self.note(TorchLaunch(name, list({id(tensor): tensor for tensor in tensors}.values())))
        return result


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _tensors(value)


class _Implementations(dict[Any, Any]):
    """Stands in for the dispatch table's memory: gives the implementation that a GPU would run, under the note."""

    def __init__(self, order: Sequence[str], operators: _Operators) -> None:
        super().__init__()
        self.order, self.operators = order, operators

    def get(self, key: tuple[str, str, str | None], default: Any = None) -> Any:
        """Return the function for (op, device, forced)."""
        op = key[0]
        launcher = _dispatch.load(op, preferred(op, self.order))

        def run(given: Any) -> Any:
            with self.operators:
                found = launcher(given)
            return _dispatch.load(op, "cpu")(given) if op in VALUES_NEEDED else found

        return run


def preferred(op: str, order: Sequence[str] = ()) -> str:
    """Return the first implementation that ``op`` has in ``order``, or in the order of the dispatch table on CUDA."""
    usual = _dispatch.PREFERENCES.get(op, {}).get("cuda", _dispatch.DEFAULT_ORDER["cuda"])
    return next(name for name in (*order, *usual) if name in _dispatch.implementations(op))


@contextmanager
def _elsewhere(order: Sequence[str], target: str, call: str, note: Callable[[Noted], None]) -> Iterator[None]:
    operators = _Operators(note)
    resolved = _dispatch._resolved
    _dispatch._resolved = _Implementations(order, operators)
    try:
        # Forced, so that nobody asks whether a tensor is on a GPU; which implementation it is decides the table above.
        with noted(target, note, call), backend("triton"), operators, _HereForThere():
            yield
    finally:
        _dispatch._resolved = resolved


def record(case: Case, target: str = "sm_90", order: Sequence[str] = ()) -> list[Noted]:
    """Return what one call of the case starts, in order.

    Args:
        case: From ``cases("cuda")``.
        target: Architecture.
        order: Implementations to take before those that the dispatch table prefers.
    """
    found: list[Noted] = []
    with _HereForThere():
        inputs = case.make_inputs()
    if case.prepare is not None:
        case.prepare(*inputs)
    with _elsewhere(order, target, case.name, found.append):
        case.run(*inputs)
    return found


def declared(cases: Callable[[str], list[Case]]) -> list[Case]:
    """Return the cases that a benchmark declares for a GPU; tensors that it makes for them lie on the CPU."""
    with _HereForThere():
        return cases("cuda")
