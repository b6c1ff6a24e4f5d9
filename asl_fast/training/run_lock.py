# SPDX-License-Identifier: Apache-2.0
"""One process at a time writes into a run folder."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import time
from pathlib import Path

from asl_fast.training.run_folder import RunFolderError

try:
    import fcntl
except ImportError:  # not on Windows, where a folder is then locked by nobody
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"


class RunLock:
    """A file in the folder that says who writes there, locked while this process lives.

    The lock is the operating system's, which takes it back when the process ends, however that happens; so nothing has
    to be cleared up after a crash. Child processes do not hold it.

    Args:
        folder: The run folder; it exists.

    Raises:
        RunFolderError: Naming the process that holds the lock, its machine and since when.
        OSError: Naming the file, when it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._descriptor = -1
        if fcntl is None:
            return
        self._descriptor = self._take()
        who = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        os.ftruncate(self._descriptor, 0)
        with contextlib.suppress(OSError):
            # On a full disk the lock holds all the same, only without a name.
            os.pwrite(self._descriptor, json.dumps(who).encode(), 0)

    def _take(self) -> int:
        while True:
            try:
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as error:
                raise type(error)(
                    f"cannot write {self._path}: {error.strerror}; choose an --output that can be written"
                ) from None
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    # A file system without locks.
                    return descriptor
                holder = _holder(descriptor)
                os.close(descriptor)
                raise RunFolderError(
                    f"{self._path.parent} is being written by another process{holder}; wait for it, stop it, or choose "
                    "another --output"
                ) from None
            # The process before may have removed the file between the two calls: then this is a lock on nothing.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(self._path)):
                    return descriptor
            os.close(descriptor)

    def release(self) -> None:
        """Let other processes write into the folder."""
        if self._descriptor < 0:
            return
        # In this order: whoever locks a file that is gone notices.
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(self._descriptor), os.stat(self._path)):
                self._path.unlink()
        os.close(self._descriptor)
        self._descriptor = -1

    def moved(self, folder: Path) -> None:
        """Follow the folder to its new name."""
        self._path = folder / NAME


def _holder(descriptor: int) -> str:
    """Say ``(process 12 on host h since ...)``, as far as the file says it."""
    try:
        who = json.loads(os.pread(descriptor, 4096, 0))
        return f" (process {int(who['pid'])} on {who['host']!s:.80} since {who['since']!s:.40})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
