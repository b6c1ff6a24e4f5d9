# SPDX-License-Identifier: Apache-2.0
"""The list of commands, from their own help."""

from __future__ import annotations

import re
from importlib import import_module

from asl_fast.__main__ import COMMANDS


def overview() -> str:
    """Return a section per command with what its ``--help`` says above the options."""
    sections = []
    for name in COMMANDS:
        lines = (import_module(f"asl_fast.{name}").__doc__ or "").strip().splitlines()
        sections += [f"## {name}", "", lines[0], "", *body(lines[1:]), ""]
    return "\n".join(sections)


def body(lines: list[str]) -> list[str]:
    """Turn the indented examples of a docstring into a code block."""
    text, examples = [], []
    for line in lines:
        if line.startswith("    "):
            examples.append(re.sub(r"python -m asl_fast\.(\w+)", r"asl-fast \1", line.strip()))
        elif line.strip() not in ("Examples:", "Example:"):
            text.append(line)
    return [*text, *(["", "```bash", *examples, "```"] if examples else [])]
