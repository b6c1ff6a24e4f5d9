# SPDX-License-Identifier: Apache-2.0
"""What a benchmark case would start on a GPU, noted on the CPU: the project's kernels, and PyTorch's own beside them.

The case runs on real CPU tensors that it takes for tensors of a GPU; every kernel of the project is noted in place of
being launched, with the arguments it would get. Results that a kernel would write stay unwritten, but for the ops whose
results decide what happens next (``VALUES_NEEDED``): the C++ implementation computes those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from asl_fast.backend import backend
from asl_fast.ops import _dispatch
from benchmarks.prediction.launches import Launch, noted
from benchmarks.prediction.machine import Region
from benchmarks.registry import Case

VALUES_NEEDED = ("soft_nms", "assign_points")
# Operators of PyTorch that start no kernel: allocations and what only looks at a tensor another way.
ALLOCATIONS = frozenset({"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"})
NO_KERNEL = ALLOCATIONS | {"detach", "lift_fresh"}


class TorchLaunch(NamedTuple):
    """One operator of PyTorch that starts a kernel; attributes: ``name``, ``bytes`` read and written once."""

    name: str
    bytes: int


class TritonLaunch(NamedTuple):
    """One launch of ours; attributes: the ``launch``, and what of its ``memory`` holds values and not only room."""

    launch: Launch
    memory: tuple[Region, ...]

    @property
    def name(self) -> str:
        """Return the kernel's name."""
        return self.launch.name

    @property
    def bytes(self) -> int:
        """Return the bytes of all tensors it is given, each once."""
        tensors = [value for value in self.launch.named.values() if isinstance(value, Tensor)]
        return sum(map(moved, {tensor.data_ptr(): tensor for tensor in tensors}.values()))


Noted = TritonLaunch | TorchLaunch


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
    """Notes every operator of PyTorch that would start a kernel, and which memory holds no values yet."""

    def __init__(self, note: Callable[[Noted], None]) -> None:
        super().__init__()
        self.note = note
        self.unwritten: dict[int, Any] = {}  # storages by address, held so that no other tensor gets it

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if function.namespace != "aten" or function.is_view:
            return result
        name = function._schema.name.removeprefix("aten::")
        given, made = [*_tensors(args), *_tensors((kwargs or {}).values())], list(_tensors((result,)))
        # The tensor that an operator writes into comes first, and need not have held anything.
        read = given[1:] if name.endswith("_") else given
        if name in ALLOCATIONS or not all(map(self.written, read)):
            self.unwritten.update({_storage(tensor): tensor.untyped_storage() for tensor in made})
        else:
            for tensor in made:
                self.unwritten.pop(_storage(tensor), None)
        tensors = {id(tensor): tensor for tensor in (*given, *made)}.values()
        if name not in NO_KERNEL and any(tensor.numel() for tensor in tensors):
            self.note(TorchLaunch(name, sum(map(moved, tensors))))
        return result

    def written(self, tensor: Tensor) -> bool:
        """Tell whether anything but an uncounted kernel gave the tensor its values."""
        return _storage(tensor) not in self.unwritten

    def ours(self, launch: Launch) -> None:
        """Note a launch of the project."""
        tensors = [value for value in launch.named.values() if isinstance(value, Tensor) and self.written(value)]
        self.note(TritonLaunch(launch, tuple(Region(x.data_ptr(), moved(x)) for x in tensors if x.is_contiguous())))


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


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
        with noted(target, operators.ours, call), backend("triton"), operators, _HereForThere():
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
