# SPDX-License-Identifier: Apache-2.0
"""Unpacks of a wheel of Triton what compiling for NVIDIA's sm_90 needs: ``unpack_triton.py FOLDER_OF_WHEEL TARGET``."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

LEFT_OUT = ("triton/backends/nvidia/bin/ptxas-blackwell", "triton/backends/nvidia/lib/cupti", "triton/instrumentation")


def main(folder: Path, target: Path) -> None:
    """Unpack; what was executable stays so."""
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            if not entry.filename.startswith(LEFT_OUT):
                path = Path(archive.extract(entry, target))
                if mode := entry.external_attr >> 16 & 0o777:
                    path.chmod(mode)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
