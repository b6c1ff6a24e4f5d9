# SPDX-License-Identifier: Apache-2.0
"""Where the reference outputs and real annotations lie that tests compare with; they are not part of the package."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def shared_file(relative: str) -> Path:
    """Path of ``../shared/<relative>``; skips the calling test where that folder is not beside the checkout."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"needs ../shared/{relative}, which is not beside this checkout")
    return path
