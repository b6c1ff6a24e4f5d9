# SPDX-License-Identifier: Apache-2.0
"""What a single annotation or detection in a JSON file must be, for training, ``check_data`` and evaluation alike.

Two layouts are in use: ``{"segment": [start, end], "label": name or id, "label_id"?, "score"?}`` of ActivityNet, and
``[class id, start, end]`` of MultiTHUMOS and Charades. Times are in seconds.

One bad entry costs that entry, not its video: `read_each` says so for every format. A video of which no annotation at
all can be used is left out, because nothing is known about what happens in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple, TypeVar

from asl_fast.data.annotations.problems import AnnotationError
from asl_fast.files import number

ReversedSegments = Literal["keep", "error"]
# Is told what is wrong with an entry that is left out; raises it where the first one is to stop everything.
BadEntry = Callable[[AnnotationError], object]
Item = TypeVar("Item")
Row = TypeVar("Row")
REVERSED = "must not end before it starts"
"""What the message on a segment that does says."""
# Beyond it the sum of some lengths is infinite.
_LARGEST_SEC = 4e307
_DIGITS = 40
LARGEST_ID = 2**63 - 1
"""The largest id that stands for a class by itself: tables hold them in 64 bits."""


class Entry(NamedTuple):
    """One annotated or detected action.

    Attributes:
        start_sec: Its start, a finite number.
        end_sec: Its end.
        label: Class name, or class id where the file gives no name.
        label_id: Class id where the file gives one beside the name.
        score: Of a detection; 0 for an annotation.
    """

    start_sec: float
    end_sec: float
    label: str | int
    label_id: int | None = None
    score: float = 0.0


def class_id(value: object) -> int | None:
    """Read the id of a class: a whole number from 0 on, also as ``2.0`` or ``"2"``; None for anything else."""
    text = isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= _DIGITS
    if text or (isinstance(value, float) and value.is_integer()):
        value = int(value)  # type: ignore[call-overload]
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def with_told_duration(entry: object, duration_sec: float | None) -> Any:
    """Return what a file says of a video, with the length that somebody told, if any, in the place of its own."""
    return entry | {"duration": duration_sec} if isinstance(entry, dict) and duration_sec is not None else entry


def read_each(
    items: Iterable[Item],
    read: Callable[[Item], Row],
    *,
    place: Callable[[int], str] | None = None,
    bad: BadEntry | None = None,
    one_at_least: bool = True,
) -> list[Row]:
    """Read the entries of one video, without those that cannot be used.

    Args:
        items: The entries as the file has them.
        read: Makes one of them; raises ValueError for one that cannot be used.
        place: What is put before such a message, by position; None where it says so itself.
        bad: Told of each entry that is left out; None raises at the first.
        one_at_least: A video of which no entry can be used is of no use, as are annotations; without it there are then
            simply none, as with detections.

    Raises:
        AnnotationError: For the first entry that cannot be used, without ``bad`` or when none can be used.
    """
    rows: list[Row] = []
    errors: list[AnnotationError] = []
    for position, item in enumerate(items):
        try:
            rows.append(read(item))
        except ValueError as error:
            named = AnnotationError(f"{place(position)}: {error}" if place is not None else str(error))
            if bad is None:
                raise named from None
            errors.append(named)
    if errors and not rows and one_at_least:
        raise errors[0]
    for named in errors:
        assert bad is not None
        bad(named)
    return rows


def read_entries(
    listed: object,
    where: str,
    *,
    scores: bool = False,
    reversed_segments: ReversedSegments = "keep",
    bad: BadEntry | None = None,
    accept: Callable[[Entry], object] = lambda entry: None,
) -> list[Entry]:
    """Read the annotations or detections of one video.

    Args:
        listed: The list in the file, a layout of `Entry`; None, where the file has none, is no entry.
        where: File and video, for messages.
        scores: Every entry needs a score, as detections do.
        reversed_segments: ``"keep"`` takes segments that end before they start as they are, ``"error"`` refuses them.
            Segments without length, and those that lie outside the video, are always taken as they are.
        bad: As of `read_each`.
        accept: Looks at an entry once it is read; raises ValueError where the format asks for more.

    Raises:
        AnnotationError: For something that is no list; as `read_each`.
    """
    key = "'results'" if scores else "'annotations'"
    if listed is None:
        return []
    noun = "detection" if scores else "annotation"
    if not isinstance(listed, list):
        raise AnnotationError(f"{where}: {key} must be a list of objects, found {listed!r:.80}")

    def read(item: object) -> Entry:
        if not isinstance(item, dict):
            raise ValueError(f"{key} must be a list of objects, found {listed!r:.80}")
        entry = _read_object(item, scores, reversed_segments)
        accept(entry)
        return entry

    return read_each(listed, read, place=lambda i: f"{where}, {noun} {i}", bad=bad, one_at_least=not scores)


def read_action_rows(
    listed: object,
    where: str,
    *,
    reversed_segments: ReversedSegments = "keep",
    bad: BadEntry | None = None,
    accept: Callable[[Entry], object] = lambda entry: None,
) -> list[Entry]:
    """Read the ``[class id, start, end]`` rows of one video; arguments and errors as of `read_entries`."""
    if not isinstance(listed, list):
        raise AnnotationError(f"{where}: 'actions' is missing or of the wrong kind, found {listed!r:.80}")

    def read(row: object) -> Entry:
        entry = _read_row(row, reversed_segments)
        accept(entry)
        return entry

    return read_each(listed, read, place=lambda i: f"{where}, action {i}", bad=bad)


def _read_object(item: dict[str, Any], scores: bool, reversed_segments: ReversedSegments) -> Entry:
    segment = item.get("segment")
    label, label_id = read_label(item)
    if not isinstance(segment, list) or len(segment) != 2:
        raise ValueError(f"'segment' must be [start, end] in seconds, found {_found(item, 'segment')}")
    start, end = _seconds(segment[0], segment[1], "'segment'", reversed_segments)
    if scores and "score" not in item:
        raise ValueError(f"'score': expected a number, found {_found(item, 'score')}")
    return Entry(start, end, label, label_id, number(item["score"], "'score'") if scores else 0.0)


def _found(item: dict[str, Any], key: str) -> str:
    """Say what is under a key, or that there is no such key and which there are instead."""
    if key in item:
        return f"{item[key]!r:.80}"
    return f"None: its keys are {', '.join(map(repr, list(item)[:6])) or 'none'}"


def read_label(item: dict[str, Any]) -> tuple[str | int, int | None]:
    """Read the class of an entry: its name, or its id where there is none; and its id where there is one.

    Raises:
        ValueError: When it has no class.
    """
    given = item.get("label_id")
    # Spreadsheet programs write NaN where a number is missing.
    label_id = None if given is None or given != given else class_id(given)
    label = item.get("label")
    if isinstance(label, str):
        if not label.strip():
            raise ValueError(
                f"unknown class {label!r:.80}; 'label' must be the name of a class, or its id, a whole number"
            )
        if label_id is None and given is not None and given == given:
            raise ValueError(f"label_id of {label!r:.80} must be a whole number, found {given!r:.80}")
        return label, label_id
    name = given if label is None and "label" not in item else label
    found = class_id(name)
    if found is None or found > LARGEST_ID:
        shown = _found(item, "label") if name is None else f"{name!r:.80}"
        raise ValueError(f"unknown class {shown}; 'label' must be the name of a class, or its id, a whole number")
    if given is not None and label_id is None:
        raise ValueError(f"label_id of {name!r:.80} must be a whole number, found {given!r:.80}")
    return found, label_id


def is_usable(item: dict[str, Any]) -> bool:
    """Whether `read_entries` takes an annotation."""
    try:
        _read_object(item, False, "keep")
    except ValueError:
        return False
    return True


def _read_row(row: object, reversed_segments: ReversedSegments) -> Entry:
    if not isinstance(row, list) or len(row) != 3:
        raise ValueError(f"expected [class, start, end], found {row!r:.80}")
    number(row[0], "class")
    start, end = _seconds(row[1], row[2], "[class, start, end]", reversed_segments)
    found = class_id(row[0])
    if found is None or found > LARGEST_ID:
        raise ValueError(f"unknown class {row[0]!r:.80}; a class is given by its id, a whole number")
    return Entry(start, end, found)


def _seconds(start: object, end: object, key: str, reversed_segments: ReversedSegments) -> tuple[float, float]:
    # Detection files have millions of these: what is in order is told by one comparison.
    if type(start) is float and type(end) is float and -_LARGEST_SEC < start <= end < _LARGEST_SEC:
        return start, end
    start_sec, end_sec = number(start, key), number(end, key)
    if max(abs(start_sec), abs(end_sec)) >= _LARGEST_SEC:
        raise ValueError(f"{key}: expected numbers below {_LARGEST_SEC:g}, found {[start, end]}")
    if end_sec < start_sec and reversed_segments == "error":
        raise ValueError(f"{key} {REVERSED}, found {[start, end]}")
    return start_sec, end_sec
