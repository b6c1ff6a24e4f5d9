# SPDX-License-Identifier: Apache-2.0
"""The CUDA kernels of an op compiled for one architecture, kept under build/ledger until a source changes."""

from __future__ import annotations

import hashlib
import subprocess
from functools import cache
from pathlib import Path

from benchmarks.prediction.binaries import Binary, kernels
from benchmarks.prediction.stand_in import ROOT, comparable, load_file

FOLDER = ROOT / "build" / "ledger"
CSRC = ROOT / "csrc"


@cache
def cuda_kernels(op: str, arch: str) -> dict[str, Binary]:
    """Compile ``csrc/cuda/<op>*.cu`` and read its kernels, by their comparable names.

    Raises:
        RuntimeError: There is no nvcc, or it fails.
    """
    found: dict[str, Binary] = {}
    for source in sorted((CSRC / "cuda").glob(f"{op}*.cu")):
        for name, binary in kernels(_cubin(source, arch)).items():
            found.setdefault(comparable(name), binary)
    return found


def _cubin(source: Path, arch: str) -> bytes:
    headers = sorted(path for path in CSRC.rglob("*") if path.suffix in (".h", ".cuh"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in (source, *headers)))
    kept = FOLDER / f"{source.stem}-{arch}-{digest.hexdigest()[:16]}.cubin"
    if not kept.exists():
        native_build = load_file("native_build", CSRC / "native_build.py")
        try:
            nvcc = native_build.find_nvcc()
        except native_build.NotBuilt as reason:
            raise RuntimeError(f"the CUDA kernels cannot be counted: {reason}") from None
        FOLDER.mkdir(parents=True, exist_ok=True)
        for old in FOLDER.glob(f"{source.stem}-{arch}-*.cubin"):
            old.unlink()
        made = kept.with_suffix(".new")
        command = [nvcc, "-cubin", f"-arch={arch}", "-O3", "-std=c++17", f"-I{CSRC}", "-o", str(made), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
        made.replace(kept)
    return kept.read_bytes()
