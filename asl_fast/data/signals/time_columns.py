# SPDX-License-Identifier: Apache-2.0
"""Which column of a table of samples holds time stamps, and in what unit: by the names that people and apps give it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from asl_fast.data.annotations.columns import plain_name

_UNITS: dict[float, tuple[str, ...]] = {
    1.0: ("s", "sec", "secs", "second", "seconds"),
    1e-3: ("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"),
    1e-6: ("us", "usec", "usecs", "micros", "microsecond", "microseconds"),
    1e-9: ("ns", "nsec", "nsecs", "nanos", "nanosecond", "nanoseconds"),
    60.0: ("min", "mins", "minute", "minutes"),
    3600.0: ("h", "hr", "hrs", "hour", "hours"),
}
_SECONDS_BY_UNIT = {name: factor for factor, names in _UNITS.items() for name in names}
# Units that are a name by themselves; "hours" and "minutes" would be parts of a clock beside "seconds".
_ALONE = frozenset({"sec", "secs", "seconds", *_UNITS[1e-3], *_UNITS[1e-6][1:], *_UNITS[1e-9][1:]})
_TIMES = frozenset({"time", "times", "t", "ts", "timestamp", "timestamps", "unixtime", "elapsed", "epoch", "unix"})
# What phyphox writes in other languages; alone they may mean something else (tempo), so a unit has to stand with them.
_FOREIGN_TIMES = frozenset({"zeit", "temps", "tiempo", "tempo", "tijd", "czas"})
_BESIDE = frozenset({"in", "since", "posix", "utc", "relative", "sensor", "device", "system", "host", "phone"})
_GLUED = ("timestamp", "time")


class TimeColumn(NamedTuple):
    """The column of time stamps.

    Attributes:
        place: Where it stands among the columns.
        unit_sec: Seconds in one of its units.
        others: Places of further columns that tell the same, in another unit or from another zero.
    """

    place: int
    unit_sec: float
    others: tuple[int, ...]


def find_time_column(names: Sequence[str]) -> TimeColumn | None:
    """Find the column of time stamps: one that names its unit before others, and the first of these.

    Args:
        names: Of all columns.

    Returns:
        None where no column is called like one. A further one called ``t`` counts as a channel: it may be temperature.
    """
    read = {index: told for index, name in enumerate(names) if (told := _read(name)) is not None}
    if not read:
        return None
    best = min(read, key=lambda index: (not read[index][1], _is_short(names[index]), index))
    others = tuple(index for index in read if index != best and not _is_short(names[index]))
    return TimeColumn(best, read[best][0], others)


def is_time_name(name: str) -> bool:
    """Tell whether a column of this name holds time stamps."""
    return _read(name) is not None


def _is_short(name: str) -> bool:
    return plain_name(name) == "t"


def _read(name: str) -> tuple[float, bool] | None:
    """Read a name as that of time stamps: seconds in a unit, and whether it says so; None where it is another name."""
    plain = plain_name(name).replace("time_stamp", "timestamp")
    words = plain.split("_")
    if len(words) == 1:
        word = words[0]
        if word in _ALONE:
            return _SECONDS_BY_UNIT[word], True
        for time in _GLUED:  # "timems", "timestampns"; "times" are many
            if word.startswith(time) and word not in _TIMES and (unit := word.removeprefix(time)) in _SECONDS_BY_UNIT:
                return _SECONDS_BY_UNIT[unit], True
    places = [index for index in (len(words) - 1, 0) if words[index] in _SECONDS_BY_UNIT]
    named = words.pop(places[0]) if places and len(words) > 1 else None
    # "start" alone is where something begins, not a time that goes on.
    rest = set(words) - _BESIDE - ({"start"} if "since" in words else set())
    known = _TIMES if named is None else _TIMES | _FOREIGN_TIMES
    if not rest or not rest <= known:
        return None
    return (1.0, False) if named is None else (_SECONDS_BY_UNIT[named], True)
