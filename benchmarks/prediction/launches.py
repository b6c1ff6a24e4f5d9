# SPDX-License-Identifier: Apache-2.0
"""Notes what the Triton launchers launch, on CPU tensors and for GPUs that need not be here; compiles it on request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from asl_fast.kernels import _launch
from triton.backends.compiler import GPUTarget
from triton.runtime import JITFunction, driver

TARGETS = {
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_80": GPUTarget("cuda", 80, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}


class Elsewhere:
    """The part of a Triton driver that compilation asks for; a device number per target keeps the caches apart."""

    def __init__(self, label: str) -> None:
        self.device, self.target = list(TARGETS).index(label), TARGETS[label]

    def get_current_device(self) -> int:
        """Return the number that stands for the target."""
        return self.device

    def get_current_stream(self, device: int) -> int:
        """Return a stream that nothing is launched on."""
        return 0

    def get_current_target(self) -> GPUTarget:
        """Return what to compile for."""
        return self.target


class Launch(NamedTuple):
    """One launch that a launcher asked for."""

    call: str
    target: str
    kernel: JITFunction[Any]
    arguments: tuple[Any, ...]
    grid: tuple[int, ...]
    options: dict[str, Any]

    @property
    def name(self) -> str:
        """Return the kernel's name."""
        return str(self.kernel.fn.__name__)

    @property
    def named(self) -> dict[str, Any]:
        """Return arguments and options by name."""
        return dict(zip(self.kernel.arg_names, self.arguments, strict=False)) | self.options

    def features(self) -> frozenset[tuple[Any, ...]]:
        """Return what the compiler gets to know of each argument and option."""
        constants = {parameter.name for parameter in self.kernel.params if parameter.is_constexpr}
        fixed = constants | set(self.options) - set(self.kernel.arg_names)
        plain = {parameter.name for parameter in self.kernel.params if parameter.do_not_specialize}
        return frozenset((key, *_seen(value, key in fixed, key in plain)) for key, value in self.named.items())

    def compile(self) -> Any:
        """Compile for the target; Triton keeps what it has compiled before on disk."""
        driver.set_active(Elsewhere(self.target))
        return self.kernel.run(*self.arguments, grid=self.grid, warmup=True, **self.options)


def _seen(value: Any, fixed: bool, plain: bool) -> tuple[Any, ...]:
    if fixed or value is None:
        return (repr(value),)
    if isinstance(value, torch.Tensor):
        return (value.dtype, value.data_ptr() % 16 == 0)
    if isinstance(value, int):
        wide = (type(value), abs(value) >= 2**31)
        return wide if plain else (*wide, value == 1, value % 16 == 0)
    return (type(value),)


@contextmanager
def noted(target: str, note: Callable[[Launch], None], call: str = "") -> Iterator[None]:
    """Inside, hand every launch to ``note`` instead of making it; launchers see the target, not this machine."""

    def instead(kernel: JITFunction[Any], grid: Any, *arguments: object, **options: object) -> None:
        note(Launch(call, target, kernel, arguments, tuple(grid), options))

    launch, is_hip = _launch.launch, _launch.is_hip
    driver.set_active(Elsewhere(target))
    _launch.launch, _launch.is_hip = instead, lambda: TARGETS[target].backend == "hip"
    try:
        yield
    finally:
        _launch.launch, _launch.is_hip = launch, is_hip
