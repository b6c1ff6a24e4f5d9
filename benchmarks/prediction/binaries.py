# SPDX-License-Identifier: Apache-2.0
"""What NVIDIA's tools say about a compiled kernel; they come with Triton, or with the CUDA toolkit."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

import triton

from benchmarks.prediction.sass import Instruction, parse

KEPT_BY_SYSTEM = 1024
_USAGE = re.compile(r"Function (\S+?):?\s*\n\s*(REG:.*)")


class Resources(NamedTuple):
    """Attributes: ``registers`` and ``spilled_bytes`` (stack and local memory) of a thread, ``shared_bytes`` static."""

    registers: int
    spilled_bytes: int
    shared_bytes: int


class Binary(NamedTuple):
    """Attributes: what one kernel takes, and its code."""

    resources: Resources
    code: list[Instruction]


@cache
def cuobjdump() -> str | None:
    """Return the path of the tool that reads machine code, or None where there is none."""
    bundled = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    return str(bundled) if bundled.exists() else shutil.which("cuobjdump")


def compute_capability(cubin: bytes) -> int:
    """Return 90 for sm_90: the lowest byte of the flags in the ELF header, the second lowest from sm_100 on."""
    flags = int.from_bytes(cubin[48:52], "little")
    return flags & 0xFF if flags & 0xFF else flags >> 8 & 0xFF


def _run(option: str, cubin: bytes) -> str:
    tool = cuobjdump()
    if tool is None:
        raise FileNotFoundError("cuobjdump is neither in Triton's wheel nor on the path; install the CUDA toolkit")
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run([tool, option, file.name], capture_output=True, text=True, check=True).stdout


def resources(cubin: bytes) -> dict[str, Resources]:
    """Read what each kernel of a binary takes, without the shared memory that the system keeps of every block.

    Raises:
        FileNotFoundError: There is no cuobjdump.
    """
    report = _run("-res-usage", cubin)
    found = {}
    for name, usage in _USAGE.findall(report):
        numbers = {key: int(value) for key, value in re.findall(r"\b([A-Z]+):(\d+)", usage)}
        # From sm_90 on the tool counts that KiB in, where the kernel has shared memory at all.
        counted_in = KEPT_BY_SYSTEM if compute_capability(cubin) >= 90 and numbers["SHARED"] else 0
        found[name] = Resources(numbers["REG"], numbers["STACK"] + numbers["LOCAL"], numbers["SHARED"] - counted_in)
    return found


def kernels(cubin: bytes) -> dict[str, Binary]:
    """Read all kernels of a binary, by their mangled names.

    Raises:
        FileNotFoundError: There is no cuobjdump.
    """
    usage, code = resources(cubin), parse(_run("-sass", cubin))
    return {name: Binary(usage[name], code[name]) for name in code if name in usage}
