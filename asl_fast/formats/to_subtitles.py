# SPDX-License-Identifier: Apache-2.0
"""Subtitles of one recording, as SubRip (``.srt``) and WebVTT (``.vtt``): a cue for each detection, by time.

Cues of actions that overlap overlap too; players show them below one another.
"""

from __future__ import annotations

from collections.abc import Callable

from asl_fast.formats.recording import Action, Origin, Recording, in_time_order, milliseconds
from asl_fast.formats.text import one_line

# SubRip cannot escape anything: players take <i> and {\an8} for markup wherever they stand, and an arrow for times.
_SRT_STAND_INS = {"-->": "\u2192", "<": "\u2039", ">": "\u203a", "{": "(", "}": ")"}
_VTT_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def render_srt(recording: Recording, origin: Origin) -> str:
    """Write SubRip; what it would take for markup is replaced by signs that look alike."""
    cues = _cues(recording, ",", lambda label: _replaced(label, _SRT_STAND_INS))
    return "\n".join(f"{number}\n{cue}" for number, cue in enumerate(cues, start=1))


def render_vtt(recording: Recording, origin: Origin) -> str:
    """Write WebVTT, which has escapes for markup."""
    return "\n".join(["WEBVTT\n", *_cues(recording, ".", lambda label: _replaced(label, _VTT_ESCAPES))])


def _cues(recording: Recording, point: str, escape: Callable[[str], str]) -> list[str]:
    return [_cue(action, point, escape) for action in in_time_order(recording.actions)]


def _cue(action: Action, point: str, escape: Callable[[str], str]) -> str:
    start, end = milliseconds(action)
    text = f"{escape(one_line(action.label))} ({action.score:.2f})"
    return f"{_clock(start, point)} --> {_clock(end, point)}\n{text}\n"


def _clock(milliseconds: int, point: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{point}{rest:03d}"


def _replaced(text: str, stand_ins: dict[str, str]) -> str:
    for found, stand_in in stand_ins.items():
        text = text.replace(found, stand_in)
    return text
