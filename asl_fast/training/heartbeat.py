# SPDX-License-Identifier: Apache-2.0
"""Waiting for the other processes of a run: as long as it takes while they work, but not for one that hangs.

In a training step all processes do the same work, so who waits longer than the time limit waits for a process that
hangs, and the collective operation itself gives up. Elsewhere processes differ: one writes a checkpoint, another has
the longer recordings to detect in. There every process counts up a number in a store that all can read, whenever it
has got on, and is waited for as long as its number changes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

INTERVAL_SEC = 2.0
"""Least time between two signs of life; more of them would only keep the store busy."""


class PeerHangsError(RuntimeError):
    """Another process has shown no sign of life for as long as the time limit."""


class Heartbeat:
    """Signs of life of the processes of a run.

    Args:
        store: That all processes can read.
        rank: Number of this process.
        world_size: Number of processes.
        limit_sec: How long a process that shows none is waited for.
    """

    def __init__(self, store: Store, rank: int, world_size: int, limit_sec: float) -> None:
        self.store, self.rank, self.world_size, self.limit_sec = store, rank, world_size, limit_sec
        self._last_beat, self._beats, self._meetings = 0.0, 0, 0
        # Reading what is not there yet waits for it otherwise.
        store.set_timeout(timedelta(seconds=limit_sec))
        self.beat()

    def beat(self) -> None:
        """Show that this process gets on."""
        now = time.monotonic()
        if now - self._last_beat >= INTERVAL_SEC or not self._beats:
            self._last_beat = now
            self._beats += 1
            self.store.set(f"beat/{self.rank}", str(self._beats))

    @contextmanager
    def working(self) -> Iterator[None]:
        """Show that this process gets on while it does one long thing, such as writing a file."""
        done = threading.Event()

        def go_on() -> None:
            while not done.wait(INTERVAL_SEC):
                self.beat()

        beating = threading.Thread(target=go_on, daemon=True)
        beating.start()
        try:
            yield
        finally:
            done.set()
            beating.join()

    def meet(self) -> None:
        """Wait until every process has come here as often as this one.

        Raises:
            PeerHangsError: Naming a process that is not here and has shown no sign of life for the time limit.
        """
        self._meetings += 1
        here = f"meeting/{self._meetings}"
        self.store.set(f"{here}/{self.rank}", "")
        missing = [rank for rank in range(self.world_size) if rank != self.rank]
        seen: dict[int, tuple[bytes, float]] = {}
        pause_sec = 0.001
        while missing := [rank for rank in missing if not self.store.check([f"{here}/{rank}"])]:
            self.beat()
            now = time.monotonic()
            for rank in missing:
                found = self.store.get(f"beat/{rank}")
                if rank not in seen or seen[rank][0] != found:
                    seen[rank] = (found, now)
                elif now - seen[rank][1] > self.limit_sec:
                    raise PeerHangsError(f"process {rank} has not got on for {self.limit_sec:g} s")
            time.sleep(pause_sec)
            pause_sec = min(2 * pause_sec, 0.1)
        if self._meetings > 1:
            # Nobody waits for the one before: all have come to this one.
            self.store.delete_key(f"meeting/{self._meetings - 1}/{self.rank}")
