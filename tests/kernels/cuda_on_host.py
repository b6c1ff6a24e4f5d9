# SPDX-License-Identifier: Apache-2.0
"""Runs the CUDA kernels without a GPU: csrc/cuda compiled for the CPU over tests/cuda_on_host.

A test takes the fixture ``cuda_device``, puts its tensors there and calls ``_dispatch.load(op, "cuda")``, or the public
function under ``with backend("cuda")``. It runs twice: on the CPU, where the wrappers find the stand-in instead of the
CUDA module, and under the marker ``gpu`` on a real device. Output buffers are poisoned and fenced in both.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch

from asl_fast import native
from asl_fast.ops import _dispatch
from benchmarks.prediction.stand_in import build
from tests.kernels import fences


def module() -> ModuleType:
    """Return the kernels' module for the CPU; skips the test where there is none."""
    built = build()
    if isinstance(built, str):
        pytest.skip(f"CUDA kernels on the CPU: {built}")
    return built


def library() -> ctypes.CDLL:
    """Load the module for what is not bound to Python: ``cuda_on_host_set_order``, ``cuda_on_host_launches``."""
    path = module().__file__
    assert path is not None
    opened = ctypes.CDLL(path)
    opened.cuda_on_host_set_order.argtypes = [ctypes.c_uint64]
    opened.cuda_on_host_set_order.restype = None
    opened.cuda_on_host_launches.restype = ctypes.c_uint64
    return opened


WAYS = ["on-host", *([pytest.param("cuda", marks=pytest.mark.gpu)] if torch.cuda.is_available() else [])]


@pytest.fixture(params=WAYS)
def cuda_device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """Where a CUDA wrapper takes its tensors in this test: the CPU, or a CUDA device where there is one."""
    if request.param == "cuda":
        if native.cuda_device_count() == 0:
            pytest.skip("needs the CUDA module, built by make build where nvcc is found")
        device = torch.device("cuda")
    else:
        stand_in = module()
        device = torch.device("cpu")
        monkeypatch.setattr(native, "cuda_module", lambda: stand_in)
        for implementations in _dispatch._implementations.values():
            if "cuda" in implementations:
                entry = implementations["cuda"]._replace(obstacle=lambda device: None)
                monkeypatch.setitem(implementations, "cuda", entry)
        monkeypatch.setattr(_dispatch, "_resolved", {})
    with fences.fenced(fences.CUDA, some=False):
        yield device
