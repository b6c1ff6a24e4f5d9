# SPDX-License-Identifier: Apache-2.0
"""Fake CUDA tensors on a machine without a GPU, autograd included: shapes and devices, no memory and no arithmetic.

`asl_fast` on such tensors takes every branch that it takes on a GPU, and whatever reads a value raises.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("stand_in.cpp")
BUILD = Path(__file__).resolve().parents[2] / "build" / "fake_cuda"


class Unavailable(RuntimeError):
    """Why there are no fake CUDA tensors here."""


def load() -> None:
    """Prepare PyTorch for fake CUDA tensors; call it before anything imports torch.

    Raises:
        Unavailable: Naming what is missing.
    """
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise Unavailable("torch is not installed")
    torch = Path(spec.origin).parent
    if (torch / "lib" / "libtorch_cuda.so").exists():
        return  # It brings all of it along.
    if "torch" in sys.modules:
        raise Unavailable("torch was imported before the stand-in for its CUDA part could be loaded")
    ctypes.CDLL(str(_compiled(torch)))


def _compiled(torch: Path) -> Path:
    """Compile the stand-in against the headers of the torch that is installed, once for each of its versions."""
    compiler = shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")
    if compiler is None:
        raise Unavailable("no C++ compiler was found")
    key = hashlib.sha256(SOURCE.read_bytes() + (torch / "version.py").read_bytes() + str(torch).encode()).hexdigest()
    library = BUILD / f"stand_in-{key[:16]}.so"
    if not library.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        partial = library.with_suffix(".tmp")
        command = [compiler, "-std=c++20", "-O1", "-shared", "-fPIC", f"-I{torch / 'include'}", str(SOURCE)]
        # Never unloaded: PyTorch holds on to what it has registered until the process ends.
        command += [f"-L{torch / 'lib'}", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{torch / 'lib'}", "-Wl,-z,nodelete"]
        command += ["-o", str(partial)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Unavailable(f"the stand-in does not compile against this torch: {done.stderr.strip()[-500:]}")
        partial.replace(library)
    return library
