# SPDX-License-Identifier: Apache-2.0
"""Annotations and detections as a table with a line for each action, made into what the ActivityNet layout holds.

Columns are found by the names that people give them (`columns`), or told; fields are separated by commas, semicolons,
tabs or ``|``. Times are seconds, ``H:MM:SS.f``, milliseconds (a name that ends in ``_ms``) or frames (a name with
"frame" in it, which needs a column of frame rates). A line without times and label lists a video without actions.
Lengths are those of videos, unless `lengths` finds that they are those of actions. An apostrophe before a name that a
spreadsheet would take for a formula, as in ``'=x``, is no part of it.
"""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from asl_fast.data.annotations.columns import Columns, find_columns
from asl_fast.data.annotations.lengths import LengthColumn
from asl_fast.data.annotations.problems import AnnotationError
from asl_fast.data.annotations.times import read_seconds
from asl_fast.files import number, read_text
from asl_fast.wording import say_once, unescape_formula

logger = logging.getLogger(__name__)
TABLES = (".csv", ".tsv")
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "|"}
_EXCEL_LINE = re.compile(r"\A\s*sep=.\s*?\n")
"""By which spreadsheets say what separates fields; the line of names says it as well."""
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
_VIDEO_KEYS = ("subset", "duration", "fps")
_TEXTS = ("video", "label", "subset")
"""What is a name also where it looks like a number, so that no comma in it is a decimal one."""

_SHOWN = 3


def is_table(path: str | Path) -> bool:
    """Tell by its name whether a file is a table, ``.gz`` or not."""
    return Path(str(path).removesuffix(".gz")).suffix.lower() in TABLES


def read_table(path: str | Path, columns: Mapping[str, str] | None = None, *, scores: bool = False) -> dict[str, Any]:
    """Read a table into what a file of the ActivityNet layout has by video.

    Args:
        path: The file.
        columns: Column by role, see `columns.find_columns`; None goes by their names.
        scores: The table is one of detections, and lists of entries are returned in place of objects.

    Raises:
        FileNotFoundError: When there is no such file.
        AnnotationError: When it is no such table; naming the line that has another number of fields or no video.
    """
    rows, found = _rows(path, columns or {})
    videos: dict[str, dict[str, Any]] = {}
    nameless: list[int] = []
    lengths = LengthColumn(found) if found.lengths_guessed and not scores else None
    for line, row in rows:
        if not (video := row.pop("video")):
            nameless.append(line)
            continue
        entry = videos.setdefault(video, {"annotations": []})
        if lengths is not None:
            lengths.take(video, row)
        for key in _VIDEO_KEYS:
            if row.get(key, "") != "":
                _state(entry, key, row[key])
        rate = row.get("fps", "")
        if any(row.get(key) for key in ("start", "end", "label", "label_id")):
            entry["annotations"].append(_entry(row, found, rate))
    if nameless:
        more = f" and {len(nameless) - 1} more" if len(nameless) > 1 else ""
        raise AnnotationError(
            f"{path}, line {nameless[0]}{more}: no video in column {found.names['video']!r}; write its name in every "
            "line (of merged cells, a spreadsheet keeps the first alone)"
        )
    if scores:
        return {video: entry["annotations"] for video, entry in videos.items()}
    if lengths is not None and (reason := lengths.reason()) is not None:
        name = found.names["duration"]
        said = f"column {name!r} is taken for lengths of actions, not of videos, and ignored: {reason}; --columns "
        say_once(logger, str(path), f"{said}duration={name} takes it for those of videos")
        for entry in videos.values():
            entry.pop("duration", None)
    return videos


def _rows(path: str | Path, told: Mapping[str, str]) -> tuple[Iterator[tuple[int, dict[str, str]]], Columns]:
    try:
        text = read_text(path)
    except ValueError as error:
        raise AnnotationError(str(error)) from None
    text = _EXCEL_LINE.sub("\n", text)  # a line, so that the others keep their numbers
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(_SEPARATORS, key=lambda each: first.count(each))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    lines = ((reader.line_num, [field.strip() for field in line]) for line in reader if any(map(str.strip, line)))
    try:
        header = next(lines, (0, []))[1]
    except csv.Error as error:
        raise AnnotationError(f"{path}, line 1: {error}; is it a table?") from None
    if not header:
        raise AnnotationError(f"{path}: is empty; expected a line of column names, such as video,start,end,label")
    found = find_columns(header, told, str(path))
    said = f"a table separated by {_SEPARATORS[separator]}: {found}; --columns names others"
    say_once(logger, str(path), said)
    places = {role: header.index(name) for role, name in found.names.items()}
    decimal_commas = separator != ","

    def read() -> Iterator[tuple[int, dict[str, str]]]:
        try:
            for line_number, line in lines:
                if len(line) != len(header):
                    raise AnnotationError(
                        f"{path}, line {line_number}: {len(line)} fields, but the first line names {len(header)}"
                    )
                row = {role: line[place] for role, place in places.items()}
                for role, text in row.items():
                    if role in _TEXTS:
                        row[role] = unescape_formula(text)
                    elif decimal_commas and _DECIMAL_COMMA.fullmatch(text):
                        row[role] = text.replace(",", ".")
                yield line_number, row
        except csv.Error as error:
            raise AnnotationError(f"{path}, line {reader.line_num + 1}: {error}; is it a table?") from None

    return read(), found


def _state(entry: dict[str, Any], key: str, text: str) -> None:
    """Take up what a line says of its video; where lines contradict each other, as a list for its reader to refuse."""
    stated = entry.setdefault(key, text)
    values = stated if isinstance(stated, list) else [stated]
    # More than a message shows would make long tables slow.
    if len(values) < _SHOWN and not any(_is_same(value, text, key) for value in values):
        entry[key] = [*values, text]


def _is_same(one: str, other: str, key: str) -> bool:
    """Whether two cells say the same: ``25`` and ``25.0`` do, unless they are names."""
    if one == other or key in _TEXTS:
        return one == other
    try:
        return number(one, "") == number(other, "")
    except ValueError:
        return False


def _entry(row: Mapping[str, str], columns: Columns, rate: str) -> dict[str, Any]:
    """Return an annotation as JSON has it; what is no number stays text, for its reader to refuse."""
    entry: dict[str, Any] = {
        "segment": [read_seconds(row["start"], columns, rate), read_seconds(row["end"], columns, rate)]
    }
    for key in ("label", "label_id", "score"):
        if row.get(key, "") != "":
            entry[key] = row[key]
    return entry
