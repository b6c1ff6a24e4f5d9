# SPDX-License-Identifier: Apache-2.0
"""A limit on how long a piece of work may take."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class OutOfTime(BaseException):
    """Not an Exception: compilers and others catch those and go on."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise OutOfTime in the main thread as soon as Python runs there; in other threads, and on Windows, never."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def out_of_time(*_: object) -> None:
        raise OutOfTime

    # An outer limit goes on counting only after this one: both together may take their sum.
    before = signal.signal(signal.SIGALRM, out_of_time)
    remaining, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, remaining)
        signal.signal(signal.SIGALRM, before)
