# SPDX-License-Identifier: Apache-2.0
"""What asl_fast finds on this machine, as plain data; saved with every run, printed by ``python -m asl_fast.env``."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from asl_fast import __version__, native

PACKAGES = ("torch", "numpy", "tyro", "tqdm", "triton", "h5py", "tensorboard")
REQUIRED = ("torch", "numpy", "tyro", "tqdm")
EXTRAS = {
    "triton": ("triton", "the Triton kernels are not available"),
    "h5py": ("h5", "features in .h5 files cannot be read"),
    "tensorboard": ("tensorboard", "training writes no TensorBoard log"),
}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def usable_cores() -> int:
    """Return the processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory_bytes() -> int | None:
    """Return the memory that this process could still take: what the system has, or less where a container limits it.

    Pages of files that were read count as free, as the system gives them up for whoever needs memory. None where the
    system does not say (Linux does).
    """
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")]
    return min(found + _left_in_container(Path("/sys/fs/cgroup"))) if found else None


def _left_in_container(root: Path) -> list[int]:
    """Return what the limits of a control group leave, in bytes, as version 2 and version 1 write them; often none."""
    left = []
    for folder, limit, used in (
        (root, "memory.max", "memory.current"),
        (root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        with suppress(OSError, ValueError):  # no such limit, or the word "max"
            most, taken = (int((folder / name).read_text(encoding="ascii")) for name in (limit, used))
            fields = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
            left.append(max(0, most - taken + int(fields.get("inactive_file", 0))))
    return left


def _devices() -> list[dict[str, Any]]:
    if not torch.cuda.is_available():
        return []
    found = []
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        found.append(
            {
                "index": index,
                "name": about.name,
                "capability": [about.major, about.minor],
                "memory_bytes": about.total_memory,
            }
        )
    return found


def _module(kind: native.Kind) -> dict[str, Any]:
    """Return the build record of one compiled module, corrected by whether it loads in this interpreter."""
    reason = native.why_missing(kind)
    record = native.build_info().get(native.MODULES[kind], {})
    built_with = {key: value for key, value in record.items() if key not in ("built", "reason")}
    return {"available": reason is None, "reason": reason, **built_with}


def _stale() -> bool:
    """Tell whether C++ or CUDA sources of a checkout were changed after the modules were built."""
    record = native.PACKAGE / "_build_info.json"
    sources = [path for path in (native.PACKAGE.parent / "csrc").rglob("*.[ch]*") if path.suffix != ".py"]
    return record.exists() and any(path.stat().st_mtime > record.stat().st_mtime for path in sources)


def _cuda_operator_advice(gpu: bool) -> list[str]:
    """Say what keeps the CUDA operators from a GPU that torch sees, or torch from a GPU that they see."""
    reason = native.why_cuda_cannot_run()
    if gpu and reason is not None:
        return [f"no CUDA operators, the GPU runs Triton or the reference: {reason}"]
    if torch.version.cuda is None and native.cuda_devices():
        return ["this machine has a GPU but torch was installed without CUDA: install a CUDA build of torch"]
    return []


def _advice(versions: dict[str, str | None], gpu: bool) -> list[str]:
    advice = [f"{name} is missing: pip install {name}" for name in REQUIRED if versions[name] is None]
    for name, (extra, loss) in EXTRAS.items():
        if versions[name] is None and (name != "triton" or platform.system() == "Linux"):
            advice.append(f"{name} is missing, {loss}: pip install 'asl-fast[{extra}]'")
    if native.cpu_module() is None:
        advice.append(f"no C++ operators, the CPU runs the reference: {native.why_missing('cpu')}")
    if _stale():
        advice.append("csrc was changed after the compiled modules were built: make build")
    return advice + _cuda_operator_advice(gpu)


def describe() -> dict[str, Any]:
    """Describe versions, compiled modules, devices and what to do about anything missing; JSON-serialisable.

    Returns:
        ``asl_fast``, ``python``, ``platform``, ``processors``, ``versions`` (package -> version or None),
        ``torch_cuda`` (None for a CPU build), ``native`` and ``native_cuda`` (``available``, ``reason``, and the
        compiler that built them), ``devices`` and ``advice`` (sentences).
    """
    versions = {name: _version(name) for name in PACKAGES}
    devices = _devices()
    return {
        "asl_fast": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": usable_cores(),
        "versions": versions,
        "torch_cuda": torch.version.cuda,
        "native": _module("cpu"),
        "native_cuda": _module("cuda"),
        "devices": devices,
        "advice": _advice(versions, bool(devices)),
    }
