# SPDX-License-Identifier: Apache-2.0
"""Names that become one line, XML, or the name of a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from asl_fast.formats.recording import Action, milliseconds, most_at_once
from asl_fast.formats.text import encodable, file_names, one_line, xml_text
from asl_fast.wording import escape_formula, unescape_formula

NAMES = [
    *("video_1", "a/b", "a_b", "A_B", "..", ".", "", " ", "con", "NUL.txt", "x" * 500, "naïve", "naï" + "ve"),
    *("-rf", "tab\there", "half \ud800 pair", "end. ", "c:\\d", "é", "e\u0301", "a?b", "console"),
]


def test_file_names_are_safe_and_differ(tmp_path: Path) -> None:
    names = list(dict.fromkeys(NAMES))
    found = file_names(names)
    assert list(found) != [] and set(found) == set(names)
    for name in names:
        path = tmp_path / f"{found[name]}.srt"
        assert path.parent == tmp_path and path.name.isprintable() and len(path.name.encode()) < 255
        assert not path.name.startswith(("-", ".")) and not set(path.name) & set('<>:"/\\|?*')
        assert not path.exists()
        path.touch()
    assert len({name.casefold() for name in found.values()}) == len(names)
    assert [found[name] for name in ("video_1", "naïve", "console")] == ["video_1", "naïve", "console"]
    assert found["a_b"] == "a_b" or found["A_B"] == "A_B"
    assert file_names(reversed(names)) == found


@pytest.mark.parametrize(
    "text", ["=x", "+1", "-1", "@a", "\tx", "\rx", "'=x", "''@", "'", "plain", "", "it's", "'a", "5"]
)
def test_a_formula_is_text_and_comes_back(text: str) -> None:
    escaped = escape_formula(text)
    assert not escaped.startswith(tuple("=+-@\t\r"))
    assert unescape_formula(escaped) == text


def test_lines_and_characters() -> None:
    assert one_line("a\n b\t\u2028c\x00\x07") == "a b c"
    assert xml_text("a\x00b\x1b\ufffe\n𝄞") == "a\ufffdb\ufffd\ufffd\n𝄞"
    assert encodable("half \ud800 pair") == "half ? pair"


def test_times() -> None:
    assert milliseconds(Action(-1e-9, 0.0, "a", 1.0)) == (0, 1)
    assert milliseconds(Action(1.0005, 1.0006, "a", 1.0)) == (1000, 1001)
    spans = [(0, 2), (1, 3), (2, 4), (2, 2)]
    assert most_at_once(Action(a, b, "", 1.0) for a, b in spans) == 2
    assert most_at_once([]) == 0
