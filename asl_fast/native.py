# SPDX-License-Identifier: Apache-2.0
"""The one door to the compiled modules: which are there, what they were built with, and why one is missing."""

from __future__ import annotations

import json
import platform
from functools import cache
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

Kind = Literal["cpu", "cuda"]
MODULES: dict[Kind, str] = {"cpu": "_native", "cuda": "_native_cuda"}
PACKAGE = Path(__file__).resolve().parent


@cache
def build_info() -> dict[str, Any]:
    """What the build wrote down: per module ``built``, and then ``compiler`` or ``reason``; empty if unknown."""
    try:
        info: dict[str, Any] = json.loads((PACKAGE / "_build_info.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return info


@cache
def _load(kind: Kind) -> tuple[ModuleType | None, str | None]:
    name = MODULES[kind]
    try:
        return import_module(f"asl_fast.{name}"), None
    except ImportError as error:
        return None, _reason(name, error)


def _reason(name: str, error: ImportError) -> str:
    info = build_info()
    if any((PACKAGE / f"{name}{suffix}").exists() for suffix in EXTENSION_SUFFIXES):
        return f"asl_fast.{name} was built but does not load here ({error}); reinstall asl_fast on this machine"
    if name not in info:
        return f"asl_fast.{name} was never built; run pip install . (or make build in a checkout)"
    if not info[name]["built"]:
        return f"asl_fast.{name} was not built: {info[name]['reason']}"
    here = platform.python_version()
    return f"asl_fast.{name} was built for Python {info['python']} and this is {here}; reinstall asl_fast"


def cpu_module() -> ModuleType | None:
    """The C++ operators, or None where they are not installed (see :func:`why_missing`)."""
    return _load("cpu")[0]


def cuda_module() -> ModuleType | None:
    """The CUDA operators, or None where they are not installed; present does not mean that there is a device."""
    return _load("cuda")[0]


def cuda_device_count() -> int:
    """CUDA devices the compiled CUDA module can use; 0 without the module, a driver or a device."""
    module = cuda_module()
    return int(module.device_count()) if module is not None else 0


def why_missing(kind: Kind = "cpu") -> str | None:
    """Why a compiled module is not there and what to do about it; None when it is there."""
    return _load(kind)[1]
