# SPDX-License-Identifier: Apache-2.0
"""Where the reference outputs and real annotations lie that tests compare with.

``tests/golden`` travels with the project: outputs of public code for made-up inputs, see the README.md there. Larger
sets, and whatever holds annotations of a real data set, may lie in a folder ``shared`` beside the checkout; a test that
needs them skips, saying so, where it is not there.
"""

from __future__ import annotations

import io
import lzma
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"
GOLDEN = Path(__file__).resolve().parent / "golden"
LARGE_SETS = (SHARED / "golden").is_dir()
SIZES = ("small_", "") if LARGE_SETS else ("small_",)  # of the golden files of whole models


def shared_file(relative: str) -> Path:
    """Path of ``../shared/<relative>``; skips the calling test where that folder is not beside the checkout."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"needs ../shared/{relative}, which is not beside this checkout")
    return path


def golden_arrays(name: str) -> dict[str, Any]:
    """Read the arrays of ``tests/golden/<name>.tar.xz``, or else of ``../shared/golden/<name>.npz``."""
    packed = GOLDEN / f"{name}.tar.xz"
    if not packed.exists():
        return dict(np.load(shared_file(f"golden/{name}.npz")))
    with tarfile.open(packed) as archive:
        members = {member.name.removesuffix(".npy"): archive.extractfile(member) for member in archive}
        return {key: np.load(io.BytesIO(file.read())) for key, file in members.items() if file is not None}


def postprocess_cases() -> list[str]:
    """Names of the golden files of ActionFormer's post-processing."""
    cases = ["mc_soft", "agnostic_soft_vote", "agnostic_hard_vote", "mc_hard", "none", "mc_soft_sigma0.9_max50"]
    return [f"{size}postprocess_{case}" for size in SIZES for case in cases]


def pack(name: str, arrays: dict[str, Any]) -> None:
    """Write ``tests/golden/<name>.tar.xz``: one .npy per array, compressed together, the same bytes every time."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for key, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array)
            member = tarfile.TarInfo(f"{key}.npy")
            member.size = len(content.getvalue())
            content.seek(0)
            archive.addfile(member, content)
    (GOLDEN / f"{name}.tar.xz").write_bytes(lzma.compress(plain.getvalue(), preset=9 | lzma.PRESET_EXTREME))
