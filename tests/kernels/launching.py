# SPDX-License-Identifier: Apache-2.0
"""Launches without a GPU and without Triton's interpreter: ``python -m tests.kernels.launching``.

Triton's compiler and driver are replaced by ones that compile nothing and run nothing, so that everything of a launch
that is Python happens as on a GPU: it can be timed, what is compiled can be counted, and the compiled kernel that
``kernels/_handles.py`` takes can be compared with the one that Triton takes.

Prints one JSON object: ``mistakes``, where the two differ or a launch misses its handle; ``microseconds`` of Python for
each launch; and ``compiled``, how often each kernel was compiled while the sizes of its calls varied, and for what.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
import triton.compiler
from asl_fast.kernels import _handles, _launch
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import CompiledKernel
from triton.runtime import driver
from triton.runtime.jit import KernelInterface

from asl_fast.ops import _dispatch
from tests.kernels import examples
from tests.kernels.calls import CALLS
from tests.kernels.examples._scene import Size

TARGET = GPUTarget("cuda", 90, 32)
ANY_SIZE = (1, 2, 3, 5, 7, 16, 17, 31, 32, 48, 61, 64, 80, 81, 97, 127, 128, 131, 257, 1009)  # 20, of every kind
ROUNDS = 20  # of arguments drawn for each launch


class Here:
    """The part of a Triton driver that a launch asks for."""

    def get_current_device(self) -> int:
        """Return the only device."""
        return 0

    def get_current_stream(self, device: int) -> int:
        """Return the default stream."""
        return 0

    def get_current_target(self) -> GPUTarget:
        """Return what would be compiled for."""
        return TARGET


class Stub(CompiledKernel):  # type: ignore[misc]
    """A compiled kernel that notes what it is run with."""

    def __init__(self, source: Any) -> None:
        self.src, self.name, self.hash = source, source.fn.__name__, ""
        self.metadata, self.packed_metadata = SimpleNamespace(target=TARGET), (4, 1, 0)
        self.module, self.function = 0, id(self)
        self._run = self.note

    def note(self, *given: Any) -> None:
        """Keep what the launcher of a real kernel would be given, but for hooks, which are None or do nothing."""
        ran.append((self, (*given[:6], *given[9:])))


ran: list[tuple[Stub, tuple[Any, ...]]] = []

triton.compiler.compile = lambda source, **_: Stub(source)
driver.set_active(Here())


class Launch(NamedTuple):
    """One launch that a launcher asked for."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: tuple[Any, ...]
    options: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the kernel."""
        return str(self.kernel.fn.__name__)

    def ours(self) -> None:
        """Launch by the handle."""
        _handles.launch(*self)

    def tritons(self) -> None:
        """Launch as Triton does."""
        self.kernel[self.grid](*self.arguments, **self.options)


@contextmanager
def noted() -> Iterator[list[Launch]]:
    """Collect what launchers launch."""
    found: list[Launch] = []
    original = _launch.launch

    def note(kernel: Any, grid: Any, *arguments: Any, **options: Any) -> None:
        found.append(Launch(kernel, tuple(grid), arguments, options))
        original(kernel, grid, *arguments, **options)

    _launch.launch = note
    try:
        yield found
    finally:
        _launch.launch = original


def launches() -> dict[str, Launch]:
    """Return every launch of every call, by call and kernel."""
    found = {}
    for name, function, operands in CALLS:
        with noted() as made:
            function(*operands)
        found.update({f"{name}/{launch.name}/{number}": launch for number, launch in enumerate(made)})
    return found


def _drawn(value: Any, draw: random.Random) -> Any:
    """Draw another value that a launcher might pass in place of this one."""
    if isinstance(value, Tensor):
        dtype = draw.choice((value.dtype, torch.float32, torch.bfloat16, torch.float64, torch.int64))
        place = torch.empty(64, dtype=dtype)[draw.choice((0, 0, 16, 1, 3)) :]
        return None if draw.random() < 0.1 else place
    if type(value) is int and draw.random() < 0.7:
        limit = draw.choice((0, 0, 0, 2**31, -(2**31), 2**40, 2**63, 2**64, -(2**63)))
        return min(max(limit + draw.choice((-16, -1, 0, 1, 8, 16)), -(2**63)), 2**64 - 1)
    if type(value) is float and draw.random() < 0.3:
        return draw.choice((0.5, 0, 2.0))
    return (not value) if type(value) is bool and draw.random() < 0.2 else value


def _others(launch: Launch, draw: random.Random) -> Launch:
    """Draw one or two other arguments, so that launches differ in little, or another number of warps."""
    places: list[int | str] = [*range(len(launch.arguments)), *launch.options]
    arguments, options = list(launch.arguments), dict(launch.options)
    for place in draw.sample(places, draw.choice((0, 1, 1, 2))):
        if isinstance(place, int):
            arguments[place] = _drawn(arguments[place], draw)
        elif place in launch.kernel.arg_names:
            options[place] = _drawn(options[place], draw)
        elif place == "num_warps":
            options[place] = draw.choice((4, 8))
    return launch._replace(arguments=tuple(arguments), options=options)


def mistakes(launch: Launch, seed: int) -> list[str]:
    """Launch with drawn arguments both ways, either of them first; return where the two differ.

    The same compiled kernel has to run with the same arguments, and when one is known Triton must not be asked again.
    """
    found = []
    draw = random.Random(seed)
    for _ in range(ROUNDS):
        given = _others(launch, draw)
        ways = (
            [given.ours, given.tritons, given.ours] if draw.random() < 0.5 else [given.tritons, given.ours, given.ours]
        )
        asked: list[int] = []
        ran.clear()
        for way in ways:
            with _asking() as times:
                way()
            asked.append(len(times))
        first, with_these = ran[0]
        same = len(ran) == 3 and all(
            stub is first and len(given) == len(with_these) and all(map(_same, given, with_these))
            for stub, given in ran
        )
        if not same or asked[2]:
            found.append(f"{launch.name}, {asked}: {given.arguments} {given.options}")
    return found


@contextmanager
def _asking() -> Iterator[list[int]]:
    """Count the launches that Triton is asked for."""
    times: list[int] = []
    original = KernelInterface.__getitem__

    def asked(kernel: Any, grid: Any) -> Any:
        times.append(1)
        return original(kernel, grid)

    KernelInterface.__getitem__ = asked
    try:
        yield times
    finally:
        KernelInterface.__getitem__ = original


def noticed(launch: Launch) -> dict[str, bool]:
    """Tell, of keys that leave something out, whether ``mistakes`` finds a difference."""
    blunted: dict[str, Callable[[Any], Any]] = {
        "type": lambda part: None if isinstance(part, torch.dtype) else part,
        "alignment": lambda part: None if isinstance(part, bool) else part,
        "width": lambda part: None if part == "i32" or part in (-1, 0, 1) else part,
        "constants": lambda part: None if isinstance(part, float) else part,
    }
    original, found = _handles._key, {}
    for name, without in blunted.items():

        def key(*given: Any, without: Callable[[Any], Any] = without) -> Any:
            return tuple(map(without, original(*given) or ()))

        _handles._key = key
        _handles._forms.clear()
        try:
            found[name] = any(mistakes(launch, seed) for seed in range(20))
        finally:
            _handles._key = original
            _handles._forms.clear()
    return found


def _same(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and not isinstance(a, Tensor) and a == b)


def microseconds(function: Callable[[], None]) -> float:
    """Return the least time of a call in many rounds, which other processes disturb least."""
    best = float("inf")
    for _ in range(9):
        begin = time.perf_counter()
        for _ in range(50):
            function()
        best = min(best, (time.perf_counter() - begin) / 50)
    return best * 1e6


def sizes(vary: str) -> list[Size]:
    """Draw as many sizes as ANY_SIZE has, which differ in what varies: "sizes", "classes" or "channels"."""
    draw = random.Random(vary)

    def any_size() -> list[int]:
        return draw.sample(ANY_SIZE, len(ANY_SIZE))

    usual = Size(torch.float32, rows=96, classes=20)
    if vary != "sizes":
        return [usual._replace(**{vary: number}) for number in any_size()]
    return [
        usual._replace(rows=rows, videos=min(videos, 64), instances=instances)
        for rows, videos, instances in zip(any_size(), any_size(), any_size(), strict=True)
    ]


def compilations(vary: str) -> dict[str, list[list[str]]]:
    """Return of each kernel of each call one list per compilation: what tells it from the others."""
    told: dict[str, dict[int, set[str]]] = {}
    for size in sizes(vary):
        for call in (call for module in examples.MODULES for call in module.calls(size)):
            ran.clear()
            _dispatch.load(call.op, "triton")(call.operands)
            times: Counter[str] = Counter()
            for stub, _ in ran:
                times[stub.name] += 1  # a kernel that is launched twice may have constants that tell them apart
                name = f"{call.name.removesuffix(size.name)}{stub.name}/{times[stub.name]}"
                told.setdefault(name, {})[id(stub)] = _told(stub.src)
    return {
        name: [sorted(one - set.intersection(*by_stub.values())) for one in by_stub.values()]
        for name, by_stub in sorted(told.items())
    }


def _told(source: Any) -> set[str]:
    names = source.fn.arg_names
    return {
        *(f"{name}: {kind}" for name, kind in source.signature.items()),
        *(f"{names[index]} = {value}" for (index, *_), value in source.constants.items()),
        *(f"{names[index]}: {value}" for (index, *_), value in source.attrs.items()),
    }


def main() -> None:
    """Do all of it and print."""
    found = launches()
    print(
        json.dumps(
            {
                "microseconds": {name: microseconds(launch.ours) for name, launch in found.items()},
                "mistakes": [line for seed, launch in enumerate(found.values()) for line in mistakes(launch, seed)],
                "noticed": noticed(found["detection-asl-float32/detection_loss_fwd_kernel/0"]),
                "compiled": {vary: compilations(vary) for vary in ("sizes", "classes", "channels")},
            }
        )
    )


if __name__ == "__main__":
    main()
