# SPDX-License-Identifier: Apache-2.0
"""Freed memory stays with the process, unless the environment says otherwise."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from asl_fast.training import freed_memory
from asl_fast.training.freed_memory import keep_freed_memory

# Without the rest of the package, whose imports take seconds.
_PROGRAM = """
import ctypes, importlib.util, resource, sys

spec = importlib.util.spec_from_file_location("freed_memory", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
c = ctypes.CDLL(None)
c.malloc.restype, c.malloc.argtypes, c.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
if sys.argv[2] == "keep":
    assert module.keep_freed_memory()
for rounds in (2, 20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        several = [c.malloc(8 << 20) for _ in range(3)]
        for block in several:
            ctypes.memset(block, 1, 8 << 20)
        for block in several:
            c.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_pages_are_asked_for_once() -> None:
    found = {}
    for kind in ("keep", "leave"):
        words = [sys.executable, "-c", _PROGRAM, freed_memory.__file__, kind]
        found[kind] = int(subprocess.run(words, capture_output=True, check=True).stdout)
    assert found["keep"] < found["leave"] / 10


@pytest.mark.parametrize(
    ("name", "value"), [("MALLOC_TRIM_THRESHOLD_", "1000"), ("GLIBC_TUNABLES", "glibc.malloc.mmap_max=1")]
)
def test_the_environment_comes_first(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert not keep_freed_memory()


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
