# SPDX-License-Identifier: Apache-2.0
"""A video or an entry that cannot be used, and what to do about it: stop, or leave it out and say so."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from asl_fast.wording import printable

logger = logging.getLogger(__name__)


class AnnotationError(ValueError):
    """A file, or a video or entry in it, cannot be used; the message names it and the value found."""


class Problems:
    """Collects what is wrong with single videos, and with single entries of them.

    Args:
        what: Name of the data set, for messages.
        strict: Raise the first problem instead of collecting it.
        shown: Problems of one kind that are logged in full; the rest are counted.
    """

    def __init__(self, what: str, *, strict: bool = False, shown: int = 3) -> None:
        self.what = what
        self.strict = strict
        self.shown = shown
        self.skipped: dict[str, str] = {}
        self.reasons: dict[str, str] = {}
        self.left_out: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    def skip(self, video_id: str, kind: str, error: Exception, source: str | Path | None = None) -> None:
        """Leave out a video that cannot be used: raise ``error`` when strict, otherwise count and log it.

        ``source``: the file that is to blame, put before a message that does not name it.
        """
        if source is not None and str(source) not in str(error):
            error = type(error)(f"{source}, {error}")
        if self.strict:
            raise error
        self.skipped[video_id], self.reasons[video_id] = kind, str(error)
        self._note(kind, f"skipping video {video_id!r}: {error}")

    def entry_of(self, video_id: str) -> Callable[[AnnotationError], None]:
        """Make what leaves out single annotations of a video: each is raised when strict, else counted and logged."""

        def leave_out(error: AnnotationError) -> None:
            if self.strict:
                raise error
            self.left_out[video_id] += 1
            self._note("annotation that cannot be used", f"leaving out one annotation: {error}")

        return leave_out

    def note(self, kind: str, error: Exception) -> None:
        """Note what is odd but usable: raise ``error`` when strict, otherwise count and log it."""
        if self.strict:
            raise error
        self._note(kind, str(error))

    def _note(self, kind: str, message: str) -> None:
        self.counts[kind] += 1
        if self.counts[kind] <= self.shown:
            logger.warning("%s: %s", printable(self.what), printable(message))

    def summarise(self) -> dict[str, int]:
        """Log one line per kind that occurred and return the counts."""
        for kind, count in self.counts.items():
            logger.warning(
                "%s: %d x %s%s", printable(self.what), count, kind, "" if count <= self.shown else " (first ones above)"
            )
        return dict(self.counts)
