# SPDX-License-Identifier: Apache-2.0
"""What a benchmark case would start on a GPU, noted on the CPU: the project's kernels, and PyTorch's own beside them.

The case runs on real CPU tensors that it takes for tensors of a GPU; every kernel of the project is noted in place of
being launched, with the arguments it would get. Results that a kernel would write stay unwritten, but for the ops whose
results decide what happens next (``VALUES_NEEDED``): the C++ implementation computes those.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from asl_fast import RaggedTargets, native
from asl_fast.backend import backend
from asl_fast.ops import _dispatch
from benchmarks.prediction import stand_in
from benchmarks.prediction.launches import Launch, noted
from benchmarks.prediction.machine import Region
from benchmarks.prediction.stand_in import CudaLaunch, plain_name
from benchmarks.registry import Case

VALUES_NEEDED = ("soft_nms", "assign_points")
# Operators of PyTorch that start no kernel: allocations and what only looks at a tensor another way.
ALLOCATIONS = frozenset({"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"})
NO_KERNEL = ALLOCATIONS | {"detach", "lift_fresh", "_unsafe_view"}


class TorchLaunch(NamedTuple):
    """One operator of PyTorch that starts a kernel.

    Attributes:
        name: Of the operator.
        bytes: Read and written once.
        where: The files of ours that called it, or whose call's derivative it is part of, from within; "" for none, and
            "leaf" for what puts a gradient into ``.grad``.
    """

    name: str
    bytes: int
    where: str


class TritonLaunch(NamedTuple):
    """One launch of ours.

    Attributes:
        launch: What the launcher asked for.
        memory: What of the tensors holds values and not only room.
        truth: The ground truth of the case, in grid steps, if it has any.
    """

    launch: Launch
    memory: tuple[Region, ...]
    truth: RaggedTargets | None = None

    @property
    def name(self) -> str:
        """Return the kernel's name."""
        return self.launch.name

    @property
    def bytes(self) -> int:
        """Return the bytes of all tensors it is given, each once."""
        tensors = [value for value in self.launch.named.values() if isinstance(value, Tensor)]
        return sum(map(moved, {tensor.data_ptr(): tensor for tensor in tensors}.values()))

    @property
    def elements(self) -> int:
        """Return the number of elements of the largest tensor."""
        return max((value.numel() for value in self.launch.named.values() if isinstance(value, Tensor)), default=1)


class NativeLaunch(NamedTuple):
    """One launch of csrc/cuda.

    Attributes:
        launch: What the launcher asked for.
        files: What the names of the files that hold the kernel begin with.
        memory: What of the tensors holds values and not only room.
        tensors: All that it is given.
        held: Their storages, which are to be read when the launch is counted.
    """

    launch: CudaLaunch
    files: str
    memory: tuple[Region, ...]
    tensors: tuple[Region, ...]
    held: tuple[Any, ...]

    @property
    def name(self) -> str:
        """Return the kernel's name."""
        return plain_name(self.launch.name)

    @property
    def bytes(self) -> int:
        """Return the bytes of all tensors it is given, each once."""
        return sum(region.bytes for region in self.tensors)

    @property
    def elements(self) -> int:
        """Return how many values of 4 bytes the largest tensor has."""
        return max((region.bytes // 4 for region in self.tensors), default=1) or 1


Noted = TritonLaunch | NativeLaunch | TorchLaunch


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


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every operator of PyTorch that would start a kernel, and which memory holds no values yet."""

    def __init__(self, note: Callable[[Noted], None], truth: RaggedTargets | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.note, self.truth = note, truth
        self.places: dict[int, str] = {}
        self.seen: dict[int, Any] = {}
        self.unwritten: dict[int, Any] = {}  # storages by address, held so that no other tensor gets it

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [*_tensors(args), *_tensors((kwargs or {}).values())]
        self.keep(given)
        result = function(*args, **(kwargs or {}))
        if function.namespace != "aten" or function.is_view:
            return result
        name = function._schema.name.removeprefix("aten::")
        made = list(_tensors((result,)))
        self.keep(made)
        # The tensor that an operator writes into comes first, and need not have held anything.
        read = given[1:] if name.endswith("_") else given
        if name in ALLOCATIONS or not all(map(self.written, read)):
            self.unwritten.update({_storage(tensor): tensor.untyped_storage() for tensor in made})
        else:
            for tensor in made:
                self.unwritten.pop(_storage(tensor), None)
        tensors = {id(tensor): tensor for tensor in (*given, *made)}.values()
        where = self._where()
        if name not in NO_KERNEL and any(tensor.numel() for tensor in tensors):
            self.note(TorchLaunch(name, sum(map(moved, tensors)), where))
        return result

    def _where(self) -> str:
        node = torch._C._current_autograd_node()
        if node is None:
            where = _caller()
            self.places[torch.autograd._get_sequence_nr()] = where
            return where
        if node.name().endswith("AccumulateGrad"):
            return "leaf"
        # Operators are numbered as they run, and the derivative of one has its number.
        number = node._sequence_nr()
        return self.places.get(max((at for at in self.places if at <= number + 1), default=-1), "")

    def keep(self, tensors: Sequence[Tensor]) -> None:
        """Keep tensors where they are, so that an address stays one tensor's."""
        self.seen.update({_storage(tensor): tensor.untyped_storage() for tensor in tensors})

    def written(self, tensor: Tensor) -> bool:
        """Tell whether anything but an uncounted kernel gave the tensor its values."""
        return _storage(tensor) not in self.unwritten

    def ours(self, launch: Launch) -> None:
        """Note a launch of the project."""
        tensors = [value for value in launch.named.values() if isinstance(value, Tensor) and self.written(value)]
        memory = tuple(Region(x.data_ptr(), moved(x)) for x in tensors if x.is_contiguous())
        self.note(TritonLaunch(launch, memory, self.truth))

    def native(self, launch: CudaLaunch, files: str) -> None:
        """Note a launch of csrc/cuda: its tensors are those whose addresses are among its arguments."""
        whole = launch.parameters[: len(launch.parameters) // 8 * 8]
        addresses = set(struct.unpack(f"<{len(whole) // 8}Q", whole))
        tensors, memory, held = [], [], []
        for start, storage in self.seen.items():
            inside = [at for at in addresses if start <= at < start + storage.nbytes()]
            if inside:
                region = Region(min(inside), start + storage.nbytes() - min(inside))
                tensors.append(region)
                held.append(storage)
                memory += [] if start in self.unwritten else [region]
        self.note(NativeLaunch(launch, files, tuple(memory), tuple(tensors), tuple(held)))


def _caller() -> str:
    """Name the files of asl_fast among the callers, from within, and whose method runs there."""
    frame: FrameType | None = sys._getframe(1)
    found: list[str] = []
    while frame is not None:
        _, ours, file = frame.f_code.co_filename.rpartition("/asl_fast/")
        if ours:
            owner = frame.f_locals.get("self")
            place = f"{file}:{type(owner).__name__}" if isinstance(owner, torch.nn.Module) else file
            found += [place] if place not in found else []
        frame = frame.f_back
    return " < ".join(found)


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
        name = preferred(op, self.order)
        launcher = _dispatch.load(op, name)

        def run(given: Any) -> Any:
            self.operators.keep([value for value in given if isinstance(value, Tensor)])
            with self.operators, self._native(_files_of(launcher)) if name == "cuda" else nullcontext():
                found = launcher(given)
            return _dispatch.load(op, "cpu")(given) if op in VALUES_NEEDED else found

        return run

    @contextmanager
    def _native(self, files: str) -> Iterator[None]:
        found = native.cuda_module
        native.cuda_module = stand_in.module
        try:
            with stand_in.watched(lambda launch: self.operators.native(launch, files)):
                yield
        finally:
            native.cuda_module = found


def _files_of(launcher: Any) -> str:
    """Return the base name of an op's files, from the module of its launcher: ``_<op>_native``."""
    return str(launcher.__module__).rpartition(".")[2].removeprefix("_").removesuffix("_native")


def preferred(op: str, order: Sequence[str] = ()) -> str:
    """Return the first implementation that ``op`` has in ``order``, or in the order of the dispatch table on CUDA."""
    usual = _dispatch.PREFERENCES.get(op, {}).get("cuda", _dispatch.DEFAULT_ORDER["cuda"])
    return next(name for name in (*order, *usual) if name in _dispatch.implementations(op))


@contextmanager
def _elsewhere(
    order: Sequence[str], target: str, call: str, note: Callable[[Noted], None], truth: RaggedTargets | None
) -> Iterator[None]:
    operators = _Operators(note, truth)
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
    truth = next((value for value in inputs if isinstance(value, RaggedTargets)), None)
    with _elsewhere(order, target, case.name, found.append, truth):
        case.run(*inputs)
    return found


def declared(cases: Callable[[str], list[Case]]) -> list[Case]:
    """Return the cases that a benchmark declares for a GPU; tensors that it makes for them lie on the CPU."""
    with _HereForThere():
        return cases("cuda")
