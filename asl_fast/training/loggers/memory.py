# SPDX-License-Identifier: Apache-2.0
"""What a logger has to know when its run is resumed: under which name it wrote elsewhere, and how far it came."""

from __future__ import annotations

from typing import Any

from asl_fast.files import write_json
from asl_fast.training.run_folder import RunFolder, read_if_there


def recall(folder: RunFolder, logger: str) -> dict[str, Any]:
    """Read what a logger noted in a run folder; nothing where it noted nothing or the file cannot be read."""
    found = read_if_there(folder.loggers).get(logger)
    return found if isinstance(found, dict) else {}


def note(folder: RunFolder, logger: str, content: dict[str, Any]) -> None:
    """Write down what a logger has to know, in place of what it noted before.

    Raises:
        OSError: Naming the file that cannot be written.
    """
    write_json(folder.loggers, read_if_there(folder.loggers) | {logger: content}, indent=2)
