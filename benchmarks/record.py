# SPDX-License-Identifier: Apache-2.0
"""The JSON file of a run: what was measured, on what, by which command."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from asl_fast.backend import forced_backend
from asl_fast.environment import describe
from benchmarks.measuring import Options, Record

SCHEMA = 1
ROOT = Path(__file__).resolve().parents[1]


class ResultError(ValueError):
    """A file of results that cannot be used; the message names it."""


def make(records: Sequence[Record], options: Options, arguments: Sequence[str]) -> Record:
    """Return everything of a run as plain data."""
    ceilings = options.ceilings
    return {
        "schema": SCHEMA,
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": ["python", "benchmarks/run.py", *arguments],
        "commit": commit(),
        "device": device_name(options.device),
        "device_type": options.device,
        "forced_backend": forced_backend(),
        "threads": torch.get_num_threads(),
        "clock": "processor time" if options.cpu_time else "time",
        "ceilings": None if ceilings is None else ceilings._asdict(),
        "environment": describe(),
        "results": list(records),
    }


def write(path: Path, content: Record) -> None:
    """Write the file, and the folder it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> Record:
    """Read a file that :func:`write` wrote.

    Raises:
        ResultError: It is missing, is no JSON, or of another schema.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultError(f"{path}: {error.strerror}; write one with: python benchmarks/run.py --json {path}") from None
    except ValueError as error:
        raise ResultError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA or not isinstance(content.get("results"), list):
        raise ResultError(f"{path} is not a result of benchmarks/run.py (schema {SCHEMA}); measure again")
    return content


def commit() -> str | None:
    """Return the revision measured, with ``-dirty`` where files were changed; None outside a checkout."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        # Asking must not take the lock of the index, which the owner of the checkout may need.
        quiet = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True, env=quiet)
        return found.stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def device_name(device: str) -> str:
    """Return the GPU's name, or the processor's."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    if sys.platform.startswith("linux"):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
