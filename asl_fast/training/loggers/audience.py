# SPDX-License-Identifier: Apache-2.0
"""Everybody who hears of a run: its own log, which must not fail, and callbacks, which may."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import TracebackType

from asl_fast.training.callback import Callback, Record, RunStart
from asl_fast.training.loggers.names import LOGGERS
from asl_fast.training.metrics_log import MetricsLog
from asl_fast.wording import printable


class Audience:
    """Tells a run's log and callbacks; a context, in which the run goes on.

    Args:
        log: The run's own records. That they cannot be written stops the run: resuming and the results rest on them.
        callbacks: Who else hears, in this order.
        run: What they hear first.

    Raises:
        ValueError: On entering, when one of this package's loggers cannot start.
        Exception: On entering, whatever another callback raises.
    """

    def __init__(self, log: MetricsLog, callbacks: Sequence[Callback], run: RunStart) -> None:
        self._log, self._callbacks, self._run = log, list(callbacks), run

    def __enter__(self) -> Audience:
        started: list[Callback] = []
        for callback in self._callbacks:
            try:
                callback.started(self._run)
            except BaseException as error:
                self._callbacks = started
                self.__exit__(type(error), error, None)
                if isinstance(error, Exception) and callback.name in LOGGERS:
                    reason = " ".join(str(error).split()) or type(error).__name__
                    raise ValueError(
                        f"--logger {callback.name} cannot start: {reason}; leave {callback.name} out of --logger to "
                        "train without"
                    ) from error
                raise
            started.append(callback)
        return self

    def log(self, records: Sequence[Record]) -> None:
        """Tell what an epoch measured.

        Raises:
            OSError: Naming the run's own file, when it cannot be written.
        """
        self._log.append(records)
        self._tell(lambda each: each.logged(records))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._tell(lambda each: each.ended())
        else:
            self._tell(lambda each: each.failed(error))

    def _tell(self, message: Callable[[Callback], None]) -> None:
        """Call every callback; one that fails is named once and called no more."""
        for callback in list(self._callbacks):
            try:
                message(callback)
            except Exception as error:
                self._callbacks.remove(callback)
                name = callback.name or type(callback).__name__
                reason = printable(" ".join(str(error).split()))[:200] or type(error).__name__
                print(
                    f"warning: {name} fails and hears no more of this run ({reason}); training goes on, and "
                    f"{self._log.path} has every number",
                    file=sys.stderr,
                    flush=True,
                )
