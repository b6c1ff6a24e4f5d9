# SPDX-License-Identifier: Apache-2.0
"""Words for messages."""

from __future__ import annotations

import re
from pathlib import Path

from asl_fast.wording import closest, count, examples, nearest, plain, printable, shown_apart

ROOT = Path(__file__).resolve().parents[1]


def test_the_nearest_name() -> None:
    known = ["thumos14", "MultiTHUMOS", "hapt"]
    assert nearest("thumos-14", known) == "did you mean 'thumos14'?"
    assert nearest("multithumos", known) == "did you mean 'MultiTHUMOS'?"
    assert nearest("xyz", iter(known)) == "known are thumos14, MultiTHUMOS, hapt"
    assert closest("HAPT", known) == "hapt"
    assert closest("xyz", known) is None
    assert closest("x", []) is None


def test_counts_and_examples() -> None:
    assert [count(number, "video") for number in (0, 1, 2)] == ["0 videos", "1 video", "2 videos"]
    assert count(3, "class", "classes") == "3 classes"
    assert examples(["a", "b", "c"]) == "a, b, c"
    assert examples(("a", "b", "c", "d", "e")) == "a, b, c and 2 more"


def test_what_steers_a_terminal_is_written_out() -> None:
    assert printable("\x1b[31mred\x07\r\n\x9b2J") == "\\x1b[31mred\\x07\\r\\n\\x9b2J"
    assert printable("a\nb\tc", keep="\n") == "a\nb\\tc"
    assert printable("\u202egpj.exe\u2028\ud800") == "\\u202egpj.exe\\u2028\\ud800"
    for text in ("plain", "größe 走る 🏃‍♀️", "non\u00a0breaking", "नमस्\u200dते"):
        assert printable(text) == text
    assert examples(["a\x1b", "b"]) == "a\\x1b, b"
    assert nearest("qq", ["\x1b"]) == "known are \\x1b"


def test_messages_count_by_the_one_function() -> None:
    """``1 videos`` is what ``f"{number} videos"`` says; "of 12 videos" and "all 12 videos" are of several."""
    counted = re.compile(
        r"(?<!of )(?<!all )\{(?:len\([^{}]*\)|[\w.]*num_\w+)\} "
        r"(?:videos|annotations|predictions|detections|recordings|classes)\b"
    )
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in sorted((ROOT / "asl_fast").rglob("*.py"))
        for match in counted.finditer(path.read_text())
    ]
    assert found == []


def test_names_that_look_alike_are_told_apart() -> None:
    assert plain("Open  Door ") == plain("open door") and plain("\u00e9") == plain("e\u0301")
    assert plain("run") != plain("runs")
    assert shown_apart("e\u0301", "\u00e9") == ("'e\\u0301'", "'\\xe9'")
    assert shown_apart("\u00e9", "run") == ("'\u00e9'", "'run'")
    assert shown_apart(3, "3") == ("3", "'3'")


def test_endless_words_are_cut() -> None:
    assert printable("x" * 999) == "x" * 999
    assert printable("a " + "x" * 5000 + " b") == "a " + "x" * 120 + "... (5000 characters) b"
