# SPDX-License-Identifier: Apache-2.0
"""What a benchmark declares, and where the benchmarks are found.

A file ``benchmarks/ops/bench_<op>.py`` or ``benchmarks/jobs/bench_<job>.py`` has ``def cases(device: str) ->
list[Case]``. ``python benchmarks/run.py --op <op>`` prints its table.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

Scale = Literal["small", "real", "large"]
Agree = Callable[[Any, Any], None]


class Leaves(list[Any]):
    """Tensors of a result in the order met."""


def flatten(value: Any) -> Leaves:
    """List the tensors and numbers of nested tuples, lists and dictionaries, in order; None counts for nothing."""
    if value is None:
        return Leaves()
    if isinstance(value, Tensor):
        return Leaves([value.detach()])
    if isinstance(value, Mapping):
        return Leaves(leaf for key in sorted(value) for leaf in flatten(value[key]))
    if isinstance(value, (tuple, list)):
        return Leaves(leaf for item in value for leaf in flatten(item))
    return Leaves([torch.as_tensor(value)])


def close(rtol: float = 1e-4, atol: float = 1e-5) -> Agree:
    """Expect all tensors to agree within tolerances meant for float32 sums in another order."""

    def agree(ours: Any, theirs: Any) -> None:
        left, right = flatten(ours), flatten(theirs)
        if not left or len(left) != len(right):
            raise AssertionError(f"nothing to compare: {len(left)} and {len(right)} tensors")
        for a, b in zip(left, right, strict=True):
            torch.testing.assert_close(a, b, rtol=rtol, atol=atol, check_dtype=False)

    return agree


@dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes:
        name: Sizes and options in a few words; unique in its file.
        make_inputs: Makes the arguments of ``run`` and of the baselines; not timed.
        run: What is measured, called with the inputs; returns what it computed.
        baselines: Name -> the same work done another way, returning the same.
        bytes_moved: The least that ``run`` has to read and write; 0 where memory is not what bounds it.
        flops: Floating-point operations, where arithmetic is; 0 otherwise.
        counts_flops: Count them in a call of ``run`` instead, and show the time as a multiple of the least possible.
        items: Samples, videos or predictions per call, shown as a rate; 0 for none.
        scale: "small" runs in the tests, "real" has the size of a benchmark, "large" fills the chip.
        compiled: The baseline that ``torch.compile`` is also tried on.
        threads: Processors and threads that all sides get; None leaves the process as it is.
        prepare: Called with the inputs before each call, not timed.
        agree: Raises AssertionError unless two results are the same; None where a baseline is other work, which
            ``run`` is only set beside.
    """

    name: str
    make_inputs: Callable[[], tuple[Any, ...]]
    run: Callable[..., Any]
    baselines: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    bytes_moved: int = 0
    flops: int = 0
    counts_flops: bool = False
    items: int = 0
    scale: Scale = "real"
    compiled: str | None = "eager"
    threads: int | None = None
    prepare: Callable[..., None] | None = None
    agree: Agree | None = field(default_factory=close)


def discover() -> dict[str, Callable[[str], list[Case]]]:
    """Map the name of every op and job to its ``cases``, sorted, ops first.

    Raises:
        TypeError: Naming the file, for one without ``cases``.
    """
    found = {}
    for package in ("benchmarks.ops", "benchmarks.jobs"):
        folder = importlib.import_module(package)
        for module in sorted(pkgutil.iter_modules(folder.__path__), key=lambda module: module.name):
            if not module.name.startswith("bench_"):
                continue
            loaded = importlib.import_module(f"{package}.{module.name}")
            if not callable(getattr(loaded, "cases", None)):
                raise TypeError(f"{loaded.__file__} needs a function cases(device) -> list[Case]")
            found[module.name.removeprefix("bench_")] = loaded.cases
    return found


def small_cases(cases: Sequence[Case]) -> list[Case]:
    """Choose those for the tests: marked "small", or else the one that moves the fewest bytes."""
    return [case for case in cases if case.scale == "small"] or sorted(cases, key=lambda c: c.bytes_moved)[:1]
