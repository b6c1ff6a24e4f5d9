# SPDX-License-Identifier: Apache-2.0
"""Whose length a column of a table holds: ``duration`` is that of the video for some, that of the action for others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from asl_fast.data.annotations.columns import Columns
from asl_fast.data.annotations.times import read_seconds, units_per_second

_ROUNDING_SEC = 1e-3


class LengthColumn:
    """Looks at the lines of a table, and says in the end whether its column of lengths holds those of actions.

    Most lines decide, and of the lines of one video most videos, so that a slip in a line costs that video alone.

    Args:
        columns: Of the table.
    """

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._lines: Counter[str] = Counter()
        self._values: dict[str, float | str] = {}
        self._repeated: set[str] = set()
        self._varied: set[str] = set()

    def take(self, video: str, row: Mapping[str, str]) -> None:
        """Look at a line; one without a length says nothing."""
        text, rate = row.get("duration", ""), row.get("fps", "")
        if not text:
            return
        value = read_seconds(text, self._columns, rate)
        if video in self._values:
            self._repeated.add(video)
            if value != self._values[video]:
                self._varied.add(video)
        else:
            self._values[video] = value
        start, end = (read_seconds(row[key], self._columns, rate) for key in ("start", "end"))
        if not isinstance(start, str) and not isinstance(end, str):
            # A table that counts times in frames may count lengths in seconds.
            found = self._owner(value, start, end, row, 1 / self._per_second(rate))
            if found == "video" and self._per_second(rate) != 1:
                found = self._owner(read_seconds(text, Columns({}), ""), start, end, row, 1)
            self._lines[found] += 1

    def reason(self) -> str | None:
        """Say why the lengths are those of actions; None where they are, or may be, those of videos."""
        if self._lines["action"] > self._lines["video"]:
            return "it is the end less the start"
        if 2 * len(self._varied) > len(self._repeated):
            return "it changes within a video"
        return None

    def _owner(self, length: float | str, start: float, end: float, row: Mapping[str, str], unit_sec: float) -> str:
        """Tell whose length a line holds: ``"either"`` where it may be both, as with an action that begins at 0."""
        if isinstance(length, str):
            return "either"
        step_sec = _step(row["start"], row["end"]) / self._per_second(row.get("fps", ""))
        off_action, off_video = abs(length - (end - start)), abs(length - end)
        # Each of the times is off by up to half a step, and the length by half of one of its own.
        if off_action > step_sec + _step(row["duration"]) * unit_sec / 2 + _ROUNDING_SEC:
            return "video"
        return "either" if off_action == off_video else "action" if off_action < off_video else "video"

    def _per_second(self, rate: str) -> float:
        try:
            return abs(units_per_second(self._columns, rate)) or 1.0
        except ValueError:
            return 1.0


def _step(*cells: str) -> float:
    """Return what the last digit of the coarsest of some numbers counts."""
    return 10.0 ** -min(len(cell.partition(".")[2]) for cell in cells)
