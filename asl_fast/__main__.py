# SPDX-License-Identifier: Apache-2.0
"""``asl-fast COMMAND ...``, the same as ``python -m asl_fast.COMMAND ...``; alone it lists the commands."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from asl_fast import __version__
from asl_fast.command_line.errors import CommandError, run_command
from asl_fast.command_line.program import program
from asl_fast.wording import nearest

# Modules of this package, in the order in which one meets them.
COMMANDS = (
    "train",
    "evaluate",
    "report",
    "detect",
    "batch",
    "check_data",
    "extract",
    "pack",
    "export",
    "submit",
    "env",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the first word names.

    Returns:
        The command's exit status; 2 where there is none of that name.
    """
    return run_command(lambda: _dispatch(sys.argv[1:] if arguments is None else list(arguments)))


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if words[0] == "--version":
        print(f"asl_fast {__version__}")
        return 0
    name = words[0].replace("-", "_")
    if name not in COMMANDS:
        raise CommandError(f"unknown command {words[0]!r}; {nearest(name, COMMANDS)}")
    status: int = import_module(f"asl_fast.{name}").main(words[1:])
    return status


def overview() -> str:
    """Return the commands with what each is for: the first line of its module's docstring."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:<{width}}{_summary(name)}" for name in COMMANDS]
    return "\n".join(
        [
            f"usage: {program('COMMAND')} [OPTIONS]",
            "",
            "Action Sensitivity Learning for temporal action localisation.",
            "",
            *lines,
            "",
            f"{program('COMMAND')} --help shows the options of one command.",
        ]
    )


def _summary(name: str) -> str:
    return (import_module(f"asl_fast.{name}").__doc__ or "").partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
