# SPDX-License-Identifier: Apache-2.0
"""The end of every command: one line for an expected error, a true sentence after Ctrl-C, an exit status."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator

from asl_fast.command_line.program import as_called
from asl_fast.files import remedy
from asl_fast.wording import printable

# Raised for a request that cannot be carried out. Any other error is a defect of the program and keeps its traceback.
EXPECTED = (ValueError, OSError, ImportError)
_MEMORY = re.compile(r"MemoryError|allocate memory|out of memory")
STATUS_REFUSED, STATUS_STOPPED, STATUS_BROKEN_PIPE = 2, 130, 141


class CommandError(Exception):
    """A request that failed, with the exit status to report.

    Args:
        message: What is wrong and what to do.
        status: Exit status of the command.
    """

    def __init__(self, message: object, status: int = STATUS_REFUSED) -> None:
        super().__init__(str(message))
        self.status = status


class Stopped(KeyboardInterrupt):
    """Ctrl-C, with a sentence on what is on the disk by then or how to go on."""


@contextlib.contextmanager
def if_stopped(sentence: str) -> Iterator[None]:
    """Have ``sentence`` said when Ctrl-C arrives within: what is on the disk by then or how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(sentence) from None


def run_command(command: Callable[[], int]) -> int:
    """Run a command, turn an expected error into one line on stderr, and return the exit status.

    With ``ASL_FAST_DEBUG=1`` in the environment every error keeps its traceback.

    Args:
        command: Reads its words and does its work; returns the exit status.

    Returns:
        What ``command`` returns; 2, or what a :class:`CommandError` says, after an error; 130 after Ctrl-C; 141 when
        nobody reads the output any more, as in ``asl-fast env | head -1``.
    """
    try:
        try:
            return command()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes stdout again at its end and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return STATUS_BROKEN_PIPE
    except KeyboardInterrupt as stop:
        print("; ".join(("\nstopped", *map(str, stop.args))), file=sys.stderr)
        return STATUS_STOPPED
    except (MemoryError, RuntimeError) as error:
        if os.environ.get("ASL_FAST_DEBUG") or not _MEMORY.search(f"{type(error).__name__} {error}"):
            raise
        print(f"error: there is too little memory for this: {_message(error)}", file=sys.stderr)
        return STATUS_REFUSED
    except (CommandError, KeyError, *EXPECTED) as error:
        if os.environ.get("ASL_FAST_DEBUG") or (isinstance(error, KeyError) and not _is_sentence(error)):
            raise
        print(f"error: {_message(error)}", file=sys.stderr)
        return error.status if isinstance(error, CommandError) else STATUS_REFUSED


def _is_sentence(error: KeyError) -> bool:
    """Tell a KeyError with a message for the user from that of a dictionary, which only holds the key."""
    return len(error.args) == 1 and isinstance(error.args[0], str) and " " in error.args[0]


def _message(error: Exception) -> str:
    """Return the message of an error as one line, with the commands in it as this process was called."""
    text = str(error.args[0] if isinstance(error, KeyError) else error).strip()
    if isinstance(error, OSError) and error.filename is not None and remedy(error):
        # As the system gave it, from whatever is not written by `atomic_write`, such as a folder.
        text = f"{os.fsdecode(error.filename)}: {error.strerror}{remedy(error)}"
    if text.startswith("Caught "):
        # From a loader process, with its whole traceback; the last line says what happened.
        text = text.splitlines()[-1].partition(": ")[2]
    return printable(as_called(" ".join(line.strip() for line in text.splitlines()))) or type(error).__name__
