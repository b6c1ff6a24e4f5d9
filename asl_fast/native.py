# SPDX-License-Identifier: Apache-2.0
"""The one door to the compiled modules: which are there, what they were built with, and why one is missing."""

from __future__ import annotations

import json
import platform
import sys
import warnings
from functools import cache
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

Kind = Literal["cpu", "cuda"]
MODULES: dict[Kind, str] = {"cpu": "_native", "cuda": "_native_cuda"}
PACKAGE = Path(__file__).resolve().parent

# Measured in processor time of one thread, the reference against C++, at the sizes of the public benchmarks.
SLOWER = "about 10 times slower (losses, segment IoU), up to 1,000 times (soft-NMS of many classes)"


class SlowPathWarning(RuntimeWarning):
    """Plain PyTorch or NumPy runs where compiled code was expected; a filter for this class silences it."""


_warned: set[str] = set()


@cache
def build_info() -> dict[str, Any]:
    """Read what the build wrote down: per module ``built``, and ``compiler`` or ``reason``; empty if unknown."""
    try:
        info: dict[str, Any] = json.loads((PACKAGE / "_build_info.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return info


@cache
def _load(kind: Kind) -> tuple[ModuleType | None, str | None]:
    name = MODULES[kind]
    try:
        module = import_module(f"asl_fast.{name}")
    except ImportError as error:
        return None, _reason(name, str(error))
    # Python may have found the module of another checkout, installed as editable, whose code need not fit this one.
    built_in = Path(str(module.__file__)).resolve().parent
    return (module, None) if built_in == PACKAGE else (None, _reason(name, f"found in {built_in}"))


def _reason(name: str, error: str) -> str:
    info = build_info()
    if _holds(PACKAGE, name):
        return f"asl_fast.{name} was built but does not load here ({error}); reinstall asl_fast on this machine"
    checkout = PACKAGE.parent if (PACKAGE.parent / "setup.py").exists() else None
    to_do = f"run pip install -e {checkout}" if checkout else "reinstall asl_fast"
    if name not in info:
        never = f"asl_fast.{name} was never built"
        if hidden := _hidden_by_this_one(name):
            return (
                f"{never} in {PACKAGE}, which hides the build in {hidden}; {to_do}, or start Python in another folder"
            )
        return f"{never}; {to_do}"
    if not info[name]["built"]:
        return f"asl_fast.{name} was not built: {info[name]['reason']}"
    here = platform.python_version()
    return f"asl_fast.{name} was built for Python {info['python']} and this is {here}; reinstall asl_fast"


def _holds(package: Path, name: str) -> bool:
    return any((package / f"{name}{suffix}").exists() for suffix in EXTENSION_SUFFIXES)


def _hidden_by_this_one(name: str) -> Path | None:
    """Find another ``asl_fast`` with the compiled module: on the import path, or installed as an editable checkout."""
    found = [Path(entry) / "asl_fast" for entry in sys.path]
    if (module := sys.modules.get(f"asl_fast.{name}")) is not None:
        found.append(Path(str(module.__file__)).parent)
    elsewhere = (package for package in map(Path.resolve, found) if package != PACKAGE and _holds(package, name))
    return next(elsewhere, None)


def cpu_module() -> ModuleType | None:
    """Return the C++ operators, or None where they are not installed (see :func:`why_missing`)."""
    return _load("cpu")[0]


def cuda_module() -> ModuleType | None:
    """Return the CUDA operators, or None where they are not installed; there may still be no device."""
    return _load("cuda")[0]


def cuda_devices() -> list[dict[str, Any]]:
    """List the CUDA devices that the compiled module sees: ``name``, ``capability`` (major, minor), memory and more.

    Empty without the module, a driver or a device.
    """
    module = cuda_module()
    return list(module.devices()) if module is not None else []


def why_cuda_cannot_run() -> str | None:
    """Say why the CUDA operators cannot run on the devices of this process; None where they can on each of them.

    A kernel is asked for on whichever device its tensors lie, so one device without machine code is enough.
    """
    module = cuda_module()
    if module is None:
        return why_missing("cuda")
    devices = cuda_devices()
    if not devices:
        return f"the CUDA operators see no device: {module.device_error() or 'there is none'}"
    for device in devices:
        if not has_image(module.architectures, device["capability"]):
            major, minor = device["capability"]
            return (
                f"the CUDA operators were built for {module.architectures}, which {device['name']} (sm_{major}{minor}) "
                f"cannot run; rebuild with ASL_FAST_CUDA_ARCHS={major}{minor}"
            )
    return None


def has_image(architectures: str, capability: tuple[int, int]) -> bool:
    """Tell whether a build holds code that a device runs.

    Args:
        architectures: What nvcc compiled for, such as "sm_80 sm_90 compute_90": machine code, which runs on later
            devices of the same generation, and PTX, which the driver translates for any later device. A letter at the
            end binds either to exactly that device.
        capability: Of the device, (major, minor).
    """
    for name in architectures.split():
        kind, _, number = name.partition("_")
        digits = number.rstrip("abcdefghijklmnopqrstuvwxyz")
        if kind not in ("sm", "compute") or len(digits) < 2:
            continue
        built = (int(digits[:-1]), int(digits[-1]))
        if built == tuple(capability):
            return True
        same_generation = built[0] == capability[0]
        if digits == number and built < tuple(capability) and (kind == "compute" or same_generation):
            return True
    return False


def why_missing(kind: Kind = "cpu") -> str | None:
    """Say why a compiled module is not there and what to do about it; None when it is there."""
    return _load(kind)[1]


def warn_slow_path_once(work: str, device: str, reason: str | None) -> None:
    """Warn that ``work`` runs in plain PyTorch or NumPy, the first time in this process for each device type.

    Call it when the work first runs and nobody asked for the reference; work that has no faster implementation for the
    device has nothing to warn of.

    Args:
        work: Name of an op, or of other work that a compiled module does.
        device: "cpu" or "cuda".
        reason: Why no faster implementation runs, and what to do about it; None warns of nothing.
    """
    if reason is None or device in _warned:
        return
    _warned.add(device)
    slower = f", {SLOWER}" if device == "cpu" else ""
    warnings.warn(
        f"{work} runs plain PyTorch or NumPy on the {device}, as all of asl_fast does that finds no compiled code "
        f"here{slower}: {reason}. `python -m asl_fast.env` shows what every op runs.",
        SlowPathWarning,
        stacklevel=2,
    )
