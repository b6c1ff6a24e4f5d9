# SPDX-License-Identifier: Apache-2.0
"""Which implementation of an op runs where.

Adding an implementation takes one file with a function of the op's operands and one line in the op's file::

    _dispatch.register("diou_loss", "triton", "asl_fast.kernels.diou_loss:diou_loss")

It is imported when first needed. It takes tensors of any layout and returns its results where ``outputs`` of the
operands has made room for them. ``DEFAULT_ORDER`` decides unless the op departs from it in ``PREFERENCES``.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import torch

from asl_fast import native
from asl_fast.backend import check_name, forced_backend

# Older versions fail to compile some of the kernels, or crash.
TRITON_NEEDED = (3, 5)
TRITON_RUNS_ON = (8, 0)  # compute capability of NVIDIA devices, and newer

DEFAULT_ORDER: Mapping[str, tuple[str, ...]] = {
    "cpu": ("cpu", "reference"),
    "cuda": ("triton", "cuda", "reference"),
}

# Op -> device type -> order, where a benchmark speaks against the default.
PREFERENCES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    # Expected, not measured yet (benchmarks/gpu.sh measures it): a selection is a chain of small dependent steps, which
    # the warps of a CUDA block take side by side and a Triton program one after the other.
    "soft_nms": {"cuda": ("cuda", "triton", "reference")},
}

Function = Callable[..., Any]
Predicate = Callable[[str], "str | None"]


class Implementation(NamedTuple):
    """One way to run an op: a function or "module:function", and the reason why a device cannot run it, or None."""

    target: Function | str
    obstacle: Predicate


class Choice(NamedTuple):
    """What runs and why: ``implementation`` is None where nothing can."""

    implementation: str | None
    reason: str


_implementations: dict[str, dict[str, Implementation]] = {}
_resolved: dict[tuple[str, str, str | None], Function] = {}


def register(op: str, name: str, target: Function | str, *, obstacle: Predicate | None = None) -> None:
    """Add implementation ``name`` of ``op``.

    Args:
        op: Name in the schema.
        name: One of ``asl_fast.backend.NAMES``.
        target: Function of the op's operands, or "module:function", imported at the first call.
        obstacle: Further condition: given "cpu" or "cuda", the reason why it cannot run there, or None.
    """
    check_name(name, f"register({op!r})")
    general = _OBSTACLES[name]

    def combined(device: str) -> str | None:
        return general(device) or (obstacle(device) if obstacle is not None else None)

    _implementations.setdefault(op, {})[name] = Implementation(target, combined)
    _resolved.clear()


def kernel(
    op: str, device: str, operands: Callable[..., Any], check_values: Callable[[Any], None] | None = None
) -> Function:
    """Make the function that the dispatcher calls for ``op`` on tensors of ``device``."""

    def run(*args: Any) -> Any:
        given = operands(*args)
        if check_values is not None:
            check_values(given)
        forced = forced_backend()
        function = _resolved.get((op, device, forced))
        if function is None:
            function = _resolve(op, device, forced)
        return as_returned(function(given))

    run.__name__ = op
    return run


def as_returned(outputs: tuple[Any, ...]) -> Any:
    """Return named outputs as the dispatcher takes them: a plain tuple, or the tensor where there is one output."""
    return tuple(outputs) if len(outputs) > 1 else outputs[0]


def choose(op: str, device: str, forced: str | None = None) -> Choice:
    """Choose the implementation of ``op`` that runs on tensors of ``device`` ("cpu" or "cuda"), and say why."""
    known = _implementations.get(op, {})
    if forced is not None:
        check_name(forced, "ASL_FAST_BACKEND")
        if forced not in known:
            return Choice(None, f"{op} has no {forced} implementation (it has {', '.join(known)})")
        why = known[forced].obstacle(device)
        return Choice(forced, "forced") if why is None else Choice(None, why)
    passed_over: list[str] = []
    for name in PREFERENCES.get(op, {}).get(device, DEFAULT_ORDER[device]):
        if name not in known:
            passed_over.append(f"no {name} implementation yet")
            continue
        why = known[name].obstacle(device)
        if why is None:
            return Choice(name, "; ".join(passed_over) or "first choice")
        passed_over.append(f"{name}: {why}")
    return Choice(None, "; ".join(passed_over))


def why_slow(op: str, device: str, forced: str | None = None) -> str | None:
    """Say why ``op`` runs the reference although it has something faster for ``device``; None if it does not."""
    faster = set(DEFAULT_ORDER[device]) - {"reference"}
    if forced is not None or faster.isdisjoint(_implementations.get(op, {})):
        return None
    choice = choose(op, device)
    return choice.reason if choice.implementation == "reference" else None


def backends() -> dict[tuple[str, str], Choice]:
    """Return what every op runs on every device type present: ``{(op, "cpu" or "cuda"): Choice(...)}``.

    Takes a forced backend into account; a ``Choice`` whose implementation is None would raise when called.
    """
    devices = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    forced = forced_backend()
    return {(op, device): choose(op, device, forced) for op in sorted(_implementations) for device in devices}


def slow_ops(device: str) -> dict[str, str]:
    """List the ops that run the reference on ``device`` although they have something faster: ``{op: why}``.

    Takes a forced backend into account: what was forced is not slow.
    """
    forced = forced_backend()
    reasons = {op: why_slow(op, device, forced) for op in sorted(_implementations)}
    return {op: reason for op, reason in reasons.items() if reason is not None}


def implementations(op: str) -> tuple[str, ...]:
    """Name the implementations that ``op`` has, runnable here or not."""
    return tuple(_implementations.get(op, {}))


def load(op: str, name: str) -> Function:
    """Import the function of one implementation, without asking whether it can run here."""
    target = _implementations[op][name].target
    if isinstance(target, str):
        module, _, function = target.partition(":")
        loaded: Function = getattr(importlib.import_module(module), function)
        return loaded
    return target


def _resolve(op: str, device: str, forced: str | None) -> Function:
    choice = choose(op, device, forced)
    if choice.implementation is None:
        tried = f"the forced backend {forced!r}" if forced else "any implementation"
        raise RuntimeError(f"asl_fast::{op} cannot run {tried} on {device} tensors: {choice.reason}")
    native.warn_slow_path_once(op, device, why_slow(op, device, forced))
    function = _resolved[op, device, forced] = load(op, choice.implementation)
    return function


def _reference_obstacle(device: str) -> str | None:
    return None


def _cpu_obstacle(device: str) -> str | None:
    if device != "cpu":
        return "the C++ implementation takes CPU tensors only"
    return None if native.cpu_module() is not None else native.why_missing()


def _triton_obstacle(device: str) -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if (version := _triton_version()) < TRITON_NEEDED:
        needed = ".".join(map(str, TRITON_NEEDED))
        found = ".".join(map(str, version)) or "a version that does not load"
        return f"the kernels need triton {needed} or newer and {found} is installed; pip install 'triton>={needed}'"
    if device == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        return (
            "Triton runs on CPU tensors only under its interpreter (set TRITON_INTERPRET=1 before importing asl_fast)"
        )
    if device == "cuda" and torch.version.hip is None:
        for index in range(torch.cuda.device_count()):
            if (capability := torch.cuda.get_device_capability(index)) < TRITON_RUNS_ON:
                return (
                    f"Triton does not support {torch.cuda.get_device_name(index)} (sm_{capability[0]}{capability[1]})"
                )
    return None


@cache
def _triton_version() -> tuple[int, ...]:
    """Return (major, minor) of the triton that is imported, whatever its distribution is called; () if it fails."""
    try:
        version: str = importlib.import_module("triton").__version__
        major, minor = version.split(".")[:2]
        return int(major), int(minor)
    except (ImportError, OSError, AttributeError, ValueError):
        return ()


def _cuda_obstacle(device: str) -> str | None:
    if device != "cuda":
        return "the CUDA implementation takes CUDA tensors only"
    if str(torch.version.cuda).startswith("11.") and torch.cuda.device_count() > 1:
        return (
            "with CUDA 11 the GPU that torch makes current is not yet that of the CUDA operators, which have their own "
            "runtime; install a torch for CUDA 12 or newer, or show it one GPU (CUDA_VISIBLE_DEVICES)"
        )
    return native.why_cuda_cannot_run()


_OBSTACLES: Mapping[str, Predicate] = {
    "reference": _reference_obstacle,
    "cpu": _cpu_obstacle,
    "triton": _triton_obstacle,
    "cuda": _cuda_obstacle,
}
