# SPDX-License-Identifier: Apache-2.0
"""The CUDA kernels' launchers without a GPU: csrc/cuda compiled for the CPU over tests/cuda_on_host."""

from __future__ import annotations

import ctypes
import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class CudaLaunch(NamedTuple):
    """One launch that a launcher asked for.

    Attributes:
        name: Mangled name of the kernel, without what is particular to a compiler.
        grid: Blocks by axis.
        threads: Of a block.
        dynamic_shared_bytes: Of a block.
        parameters: As the device gets them.
    """

    name: str
    grid: tuple[int, int, int]
    threads: int
    dynamic_shared_bytes: int
    parameters: bytes


def load_file(name: str, path: Path) -> ModuleType:
    """Import a module that lies outside the import path."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@cache
def build() -> ModuleType | str:
    """Load the kernels' module for the CPU, compiled if need be, or say why this machine cannot have it."""
    native_build = load_file("native_build", ROOT / "csrc" / "native_build.py")
    try:
        module = native_build.cuda_on_host_module()
    except native_build.NotBuilt as reason:
        return str(reason)
    return load_file("_native_cuda_on_host", native_build.build_cuda_on_host(module))


def module() -> ModuleType:
    """Load it.

    Raises:
        RuntimeError: This machine cannot have it.
    """
    built = build()
    if isinstance(built, str):
        raise RuntimeError(f"CUDA launches are noted by way of csrc/cuda on the CPU: {built}")
    return built


def comparable(mangled: str) -> str:
    """Name every anonymous namespace alike: host and device compilers, and each file, have a name of their own."""
    found = re.search(r"(\d+)_GLOBAL__N_", mangled)
    if found is None:
        return mangled
    start = found.end(1)
    return f"{mangled[: found.start()]}?{mangled[start + int(found[1]) :]}"


def plain_name(mangled: str) -> str:
    """Return the function's own name out of namespaces, template arguments and parameters."""
    at, name = len("_ZN"), mangled
    while found := re.compile(r"\?|(\d+)").match(mangled, at):
        at = found.end()
        if found[1]:
            name = mangled[at : at + int(found[1])]
            at += int(found[1])
    return name


_WATCHER = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint), ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t
)


@contextmanager
def watched(note: Callable[[CudaLaunch], None]) -> Iterator[None]:
    """Inside, hand every launch of the stand-in to ``note`` instead of making it.

    Raises:
        RuntimeError: This machine cannot have the stand-in.
    """
    path = str(module().__file__)
    library, names = ctypes.CDLL(path), _symbols(path)
    start = ctypes.cast(library.cuda_on_host_watch, ctypes.c_void_p).value or 0
    loaded_at = start - next(at for at, name in names.items() if name == "cuda_on_host_watch")

    def tell(kernel: int, sizes: ctypes.Array[ctypes.c_uint], shared: int, parameters: int, count: int) -> None:
        x, y, z, threads = sizes[:4]
        name = comparable(names[kernel - loaded_at])
        note(CudaLaunch(name, (x, y, z), threads, shared, ctypes.string_at(parameters, count)))

    watcher = _WATCHER(tell)
    library.cuda_on_host_watch.argtypes = [ctypes.c_void_p]
    library.cuda_on_host_watch(ctypes.cast(watcher, ctypes.c_void_p))
    try:
        yield
    finally:
        library.cuda_on_host_watch(None)


@cache
def _symbols(path: str) -> dict[int, str]:
    """Read the functions of a library by address, which the linker's table has and Python's loader does not."""
    listing = subprocess.run(["nm", "--defined-only", path], capture_output=True, text=True, check=True).stdout
    rows = (line.split() for line in listing.splitlines())
    return {int(row[0], 16): row[2] for row in rows if len(row) == 3 and row[1] in "tTwW"}
