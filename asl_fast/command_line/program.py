# SPDX-License-Identifier: Apache-2.0
"""How this process was called, so that help and messages show commands the same way."""

from __future__ import annotations

import sys
from pathlib import Path

MODULE_PREFIX = "python -m asl_fast."


def program(command: str) -> str:
    """Return how the user would call a command: "asl-fast train", or "python -m asl_fast.train"."""
    return _prefix() + command


def as_called(text: str) -> str:
    """Return a text with every ``python -m asl_fast.X`` in it replaced by how the user would call X."""
    return text.replace(MODULE_PREFIX, _prefix())


def _prefix() -> str:
    called = Path(sys.argv[0] if sys.argv else "")
    if called.stem == "asl-fast":
        return "asl-fast "
    if called.parts[-2:] == ("asl_fast", "__main__.py"):
        return "python -m asl_fast "
    return MODULE_PREFIX
