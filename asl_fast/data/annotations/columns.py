# SPDX-License-Identifier: Apache-2.0
"""Which column of a table holds what: by the names that people give them, or as told."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from asl_fast.data.annotations.problems import AnnotationError
from asl_fast.wording import nearest

# What a table can say, and how its columns are called, the likeliest first; compared in lower case, words joined by _.
_NAMES: dict[str, tuple[str, ...]] = {
    "video": (
        "video",
        "video_id",
        "video_name",
        "videoid",
        "videoname",
        "vid",
        "clip",
        "clip_id",
        "clip_name",
        "clip_uid",
    )
    + ("video_uid", "recording", "recording_id", "session", "filename", "file_name", "file", "name", "id"),
    "start": ("start", "start_sec", "start_time", "start_seconds", "start_s", "t_start", "starttime", "begin")
    + ("begin_time", "start_timestamp", "onset", "from", "t0", "start_ms", "start_frame", "startframe", "frame_start"),
    "end": ("end", "end_sec", "end_time", "end_seconds", "end_s", "t_end", "endtime", "stop", "stop_sec", "stop_time")
    + ("end_timestamp", "stop_timestamp", "offset", "to", "t1", "end_ms", "end_frame", "stop_frame", "endframe")
    + ("frame_end",),
    "label": ("label", "label_name", "class_name", "class", "action", "action_class", "action_name", "category", "type")
    + ("activity", "event", "event_type", "behavior", "behaviour", "trial_type", "tag", "verb"),
    "label_id": ("label_id", "class_id", "action_id", "category_id", "label_idx", "class_idx", "type_idx"),
    "score": ("score", "confidence", "conf", "probability", "prob"),
    "subset": ("subset", "split", "partition", "set", "phase"),
    "duration": ("video_duration", "video_duration_sec", "video_length", "duration", "duration_sec", "duration_second")
    + ("duration_seconds", "duration_s", "length"),
    "fps": ("fps", "frame_rate", "framerate", "video_fps"),
}
ROLES = tuple(_NAMES)
_FRAMES, _MILLISECONDS = re.compile(r"frame"), re.compile(r"(_ms|_msec|milliseconds?)$")


@dataclass(frozen=True)
class Columns:
    """Which column holds what.

    Attributes:
        names: Column by role; only those that are there.
        in_frames: Whether times are frame numbers.
        in_milliseconds: Whether times are milliseconds.
        lengths_guessed: Whether the column of lengths has a name that people give to lengths of actions as well.
    """

    names: Mapping[str, str]
    in_frames: bool = False
    in_milliseconds: bool = False
    lengths_guessed: bool = False

    def __str__(self) -> str:
        unit = " (frames)" if self.in_frames else " (milliseconds)" if self.in_milliseconds else ""
        return ", ".join(f"{role}={name}" + unit * (role in ("start", "end")) for role, name in self.names.items())


def parse_columns(text: str) -> dict[str, str]:
    """Read ``video=clip,start=from``; after ``duration=``, no column holds the duration.

    Raises:
        ValueError: For a word of another form, or something that no table can say.
    """
    found = {}
    for word in text.split(","):
        role, equals, name = (part.strip() for part in word.partition("="))
        if not equals:
            raise ValueError(f"--columns {text}: expected video=NAME,start=NAME,end=NAME,label=NAME, found {word!r}")
        if role not in ROLES:
            raise ValueError(f"--columns {text}: {role!r} is nothing that a column can hold; {nearest(role, ROLES)}")
        found[role] = name
    return found


def find_columns(header: Sequence[str], told: Mapping[str, str], where: str) -> Columns:
    """Find the column of each role.

    Args:
        header: Names of the columns.
        told: Column by role, which goes before what the names say; '' where no column holds it.
        where: The file, for messages.

    Raises:
        AnnotationError: When one that was told, or one that is needed, is not there, or is there twice.
    """
    listed = ", ".join(header)
    for role, name in told.items():
        if name and name not in header:
            raise AnnotationError(f"{where}: no column {name!r} for {role}; its columns are {listed}")
    plain = {plain_name(name): name for name in reversed(header) if name not in told.values()}
    names: dict[str, str] = {}
    for role in ROLES:
        guess = next((plain[name] for name in _NAMES[role] if name in plain), None)
        if found := told.get(role, guess):
            if header.count(found) > 1:
                raise AnnotationError(f"{where}: {header.count(found)} columns are named {found!r}; rename all but one")
            names[role] = found
    for role in ("video", "start", "end"):
        if role not in names:
            raise AnnotationError(
                f"{where}: which column holds the {role}? Its columns are {listed}: name it with --columns "
                f"{role}=NAME" + (", or add a first line with their names" if _is_data(header) else "")
            )
    if "label" not in names and "label_id" not in names:
        raise AnnotationError(f"{where}: which column holds the label? Its columns are {listed}: --columns label=NAME")
    units = [
        (_FRAMES.search(plain_name(names[role])), _MILLISECONDS.search(plain_name(names[role])))
        for role in ("start", "end")
    ]
    if bool(units[0][0]) != bool(units[1][0]) or bool(units[0][1]) != bool(units[1][1]):
        raise AnnotationError(
            f"{where}: {names['start']!r} and {names['end']!r} are in different units; choose with --columns "
            "start=NAME,end=NAME"
        )
    guessed = "duration" not in told and not plain_name(names.get("duration", "")).startswith("video")
    return Columns(names, bool(units[0][0]), bool(units[0][1]), "duration" in names and guessed)


def plain_name(name: str) -> str:
    """Return the name in lower case, words joined by ``_``: ``Start (sec)`` and ``startSec`` are ``start_sec``.

    The sign of micro, in both of its forms, is ``u``: left out it would make seconds of microseconds.
    """
    name = name.replace("\u00b5", "u").replace("\u03bc", "u")
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name.strip().lstrip("#"))
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")


def _is_data(header: Sequence[str]) -> bool:
    return any(re.fullmatch(r"[-+]?[\d.]+", name.strip()) for name in header)
