# SPDX-License-Identifier: Apache-2.0
"""Bytes of a video that still arrive: from a pipe, or from a file that another program writes."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

_LOOK_SEC = 0.05


class _Arriving:
    """Gives bytes as they arrive, to be read once from beginning to end: it cannot seek, which decoders ask for.

    Args:
        file: What they come from.
        patience_sec: How long to wait for a file to grow; 0 ends where it ends, as a pipe does.
    """

    def __init__(self, file: IO[bytes], patience_sec: float) -> None:
        self._file, self._patience_sec = file, patience_sec
        self._has_ended = False

    def read(self, size: int) -> bytes:
        waited = time.monotonic()
        while True:
            part = self._file.read(size)
            if not part and time.monotonic() - waited >= self._patience_sec:
                # Decoders ask again; the end was waited for once.
                self._has_ended = True
            if part or self._has_ended:
                return part
            time.sleep(_LOOK_SEC)


@contextmanager
def arriving(source: str, patience_sec: float) -> Iterator[IO[bytes]]:
    """Open a source of bytes.

    Args:
        source: ``-`` for standard input, a named pipe, or a file that grows.
        patience_sec: Seconds without growth after which a file is at its end.

    Raises:
        FileNotFoundError: When there is no such path.
        ValueError: When it is a folder or a device.
    """
    if source == "-":
        yield cast(Any, _Arriving(sys.stdin.buffer, 0.0))
        return
    try:
        mode = os.stat(source).st_mode
    except FileNotFoundError:
        raise FileNotFoundError(f"--stream {source} does not exist") from None
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        raise ValueError(f"--stream {source} is neither a file nor a pipe")
    # A small buffer, so that frames are decoded when they come and not when a buffer is full.
    with open(source, "rb", buffering=0) as file:
        yield cast(Any, _Arriving(cast(Any, file), patience_sec if stat.S_ISREG(mode) else 0.0))
