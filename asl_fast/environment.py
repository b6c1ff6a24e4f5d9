# SPDX-License-Identifier: Apache-2.0
"""What asl_fast finds on this machine, as plain data; saved with every run, printed by ``python -m asl_fast.env``."""

from __future__ import annotations

import os
import platform
import re
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from asl_fast import __version__, native

REQUIRED = ("torch", "numpy", "tyro", "tqdm")
EXTRAS = {
    "triton": "the Triton kernels",
    "h5": "features in .h5 files",
    "tensorboard": "a TensorBoard log of training",
    "wandb": "a log of training for Weights & Biases",
    "mlflow": "a log of training for MLflow",
    "plot": "charts as PNG",
    "video": "videos in place of features",
    "ray": "detection in a corpus of videos, by python -m asl_fast.batch",
    "transformers": "backbones VideoMAE, TimeSformer, V-JEPA 2 and CLIP",
    "actionformer": "checkpoints of ActionFormer with their YAML files",
    "export": "models as safetensors and ONNX files",
}
"""What each extra is for. Which packages it has is read from what pip wrote when it installed this one."""


def _extra_packages() -> dict[str, list[str]]:
    """Return the packages of each extra, by name; nothing where this package was not installed but lies on the path."""
    found: dict[str, list[str]] = {}
    try:
        requirements = metadata.requires("asl-fast") or []
    except metadata.PackageNotFoundError:
        return found
    for requirement in requirements:
        package, _, condition = requirement.partition(";")
        extra = re.search(r"""extra == ["']([\w-]+)["']""", condition)
        platforms = re.findall(r"""sys_platform == ["'](\w+)["']""", condition)
        named = re.match(r"[\w.-]+", package)
        if extra and named and extra[1] in EXTRAS and sys.platform in (platforms or [sys.platform]):
            found.setdefault(extra[1], []).append(named[0])
    return found


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


def named_device(name: str) -> torch.device:
    """Return the device that is asked for: "auto" takes a GPU where there is one.

    Raises:
        ValueError: For a device that torch does not know or that is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device {name!r} is not one that torch knows; give auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, but torch sees no GPU; python -m asl_fast.env says why")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {device} was asked for, but there are {torch.cuda.device_count()} GPUs")
    return device


def free_memory_of(device: torch.device) -> int | None:
    """Return the bytes that are free on a device; None where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return free_memory_bytes()


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


def _advice(versions: dict[str, str | None], extras: dict[str, dict[str, Any]], gpu: bool) -> list[str]:
    advice = [f"{name} is missing: pip install {name}" for name in REQUIRED if versions[name] is None]
    if absent := [extra for extra, about in extras.items() if about["missing"]]:
        advice.append(f"extras that are not here, as far as you want them: pip install 'asl-fast[{','.join(absent)}]'")
    if native.cpu_module() is None:
        advice.append(f"no C++ operators, the CPU runs the reference: {native.why_missing('cpu')}")
    if _stale():
        advice.append("csrc was changed after the compiled modules were built: make build")
    return advice + _cuda_operator_advice(gpu)


def describe() -> dict[str, Any]:
    """Describe versions, compiled modules, devices and what to do about anything missing; JSON-serialisable.

    Returns:
        ``asl_fast``, ``python``, ``platform``, ``processors``, ``versions`` (package -> version or None), ``extras``
        (extra -> ``purpose``, and the packages that are ``missing``; empty where this package is not installed but lies
        on the path), ``torch_cuda`` (None for a CPU build), ``native`` and ``native_cuda`` (``available``, ``reason``,
        and the compiler that built them), ``devices`` and ``advice`` (sentences).
    """
    packages = _extra_packages()
    names = dict.fromkeys([*REQUIRED, "triton", *(name for each in packages.values() for name in each)])
    versions = {name: _version(name) for name in names}
    versions["torch"] = str(torch.__version__)  # which names the build too, as an index of packages need not
    extras: dict[str, dict[str, Any]] = {
        extra: {"purpose": EXTRAS[extra], "missing": [name for name in each if versions[name] is None]}
        for extra, each in packages.items()
    }
    devices = _devices()
    return {
        "asl_fast": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": usable_cores(),
        "versions": versions,
        "extras": extras,
        "torch_cuda": torch.version.cuda,
        "native": _module("cpu"),
        "native_cuda": _module("cuda"),
        "devices": devices,
        "advice": _advice(versions, extras, bool(devices)),
    }
