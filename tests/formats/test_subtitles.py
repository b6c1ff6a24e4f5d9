# SPDX-License-Identifier: Apache-2.0
"""Subtitles, read by the packages that players and editors build on."""

from __future__ import annotations

import html
import io
from pathlib import Path

import pytest

from asl_fast.formats.recording import Action, Recording, in_time_order, milliseconds
from asl_fast.formats.text import one_line
from asl_fast.formats.to_subtitles import render_srt, render_vtt
from tests.formats.odd import ORIGIN, RECORDINGS

CUES = in_time_order(RECORDINGS[0].actions)


def text_of(action: Action) -> str:
    return f"{one_line(action.label)} ({action.score:.2f})"


def test_srt_is_what_players_expect() -> None:
    one = Recording("a", 4000.0, 25.0, (Action(3723.0456, 3724.0, "run", 0.875), Action(1.0, 1.0, "<b>{x}", 0.5)))
    assert render_srt(one, ORIGIN) == (
        "1\n00:00:01,000 --> 00:00:01,001\n\u2039b\u203a(x) (0.50)\n\n2\n01:02:03,046 --> 01:02:04,000\nrun (0.88)\n"
    )
    assert render_srt(RECORDINGS[1], ORIGIN) == ""


def test_pysubs2_reads_srt() -> None:
    pysubs2 = pytest.importorskip("pysubs2", reason="needs pysubs2, of the extra dev")
    found = pysubs2.SSAFile.from_string(render_srt(RECORDINGS[0], ORIGIN), format_="srt")
    assert [(cue.start, cue.end) for cue in found] == [milliseconds(each) for each in CUES]
    stand_ins = {"-->": "\u2192", "<": "\u2039", ">": "\u203a", "{": "(", "}": ")"}
    expected = [text_of(each) for each in CUES]
    for sign, stand_in in stand_ins.items():
        expected = [text.replace(sign, stand_in) for text in expected]
    assert [cue.text for cue in found] == expected


def test_pysubs2_reads_vtt() -> None:
    pysubs2 = pytest.importorskip("pysubs2", reason="needs pysubs2, of the extra dev")
    found = pysubs2.SSAFile.from_string(render_vtt(RECORDINGS[0], ORIGIN), format_="vtt")
    assert [(cue.start, cue.end) for cue in found] == [milliseconds(each) for each in CUES]


def test_webvtt_reads_vtt(tmp_path: Path) -> None:
    webvtt = pytest.importorskip("webvtt", reason="needs webvtt-py, of the extra dev")
    found = webvtt.from_buffer(io.StringIO(render_vtt(RECORDINGS[0], ORIGIN)))
    assert [html.unescape(cue.raw_text) for cue in found] == [text_of(each) for each in CUES]
    starts = [round(1000 * cue.start_in_seconds) // 1000 for cue in found]
    assert starts == [milliseconds(each)[0] // 1000 for each in CUES]
    assert len(webvtt.from_buffer(io.StringIO(render_vtt(RECORDINGS[1], ORIGIN)))) == 0


def test_vtt_holds_no_markup_and_no_arrow_in_its_text() -> None:
    lines = render_vtt(RECORDINGS[0], ORIGIN).splitlines()
    assert lines[:2] == ["WEBVTT", ""]
    texts = [line for line in lines if line and line[0].isalpha() and line != "WEBVTT"]
    assert not [line for line in texts if "<" in line or ">" in line]
    assert "&lt;i&gt;tag&lt;/i&gt; &amp; {\\an8} --&gt; end (0.46)" in lines
