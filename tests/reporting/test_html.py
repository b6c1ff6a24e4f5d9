# SPDX-License-Identifier: Apache-2.0
"""The page is one closed file: whatever names hold stays text, and nothing else runs or is fetched."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from asl_fast.reporting.content import content
from asl_fast.reporting.html import SCRIPTS, STYLES, render
from asl_fast.reporting.run_record import read_run
from tests.reporting.made_up import HARMFUL_CLASS, made_up_run

PAGE = Path(__file__).parents[2] / "asl_fast" / "reporting" / "page"


class Reader(HTMLParser):
    """Collects elements with their attributes, and the text of each."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.inside = tag

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.inside, []).append(data)

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""


@pytest.fixture
def gathered(tmp_path: Path) -> dict[str, Any]:
    return content([read_run(made_up_run(tmp_path / "run <b>&").path)])


def test_harmful_names_stay_text(gathered: dict[str, Any]) -> None:
    text = render(gathered)
    read = Reader(text)
    tags = [tag for tag, _ in read.elements]
    assert tags.count("script") == 2 and tags.count("title") == 1 and "img" not in tags and "b" not in tags
    assert json.loads(read.texts["script"][0]) == json.loads(json.dumps(gathered))
    assert HARMFUL_CLASS in gathered["classes"]
    assert "run <b>&" in "".join(read.texts["title"])


def test_the_policy_names_the_only_script_and_style(gathered: dict[str, Any]) -> None:
    read = Reader(render(gathered))
    policy = next(values["content"] for tag, values in read.elements if values.get("http-equiv"))
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'" and "media-src" not in rules
    for rule, source in (("script-src", read.texts["script"][1]), ("style-src", read.texts["style"][0])):
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert not any("unsafe" in rule for rule in rules.values())


def test_videos_may_be_played_where_they_were_given(gathered: dict[str, Any]) -> None:
    gathered["videos"]["media"] = ["./a.mp4", None, None]
    assert "media-src 'self' file:" in render(gathered)


def test_nothing_is_fetched(gathered: dict[str, Any]) -> None:
    for tag, values in Reader(render(gathered)).elements:
        assert "src" not in values and "style" not in values and not any(name.startswith("on") for name in values)
        assert tag != "link" or values["href"] == "data:,"
    sources = "".join(path.read_text() for path in PAGE.iterdir())
    assert set(re.findall(r"https?://[^\s\"']+", sources)) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    for unsafe in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "fetch("):
        assert unsafe not in sources


def test_the_same_run_gives_the_same_bytes(tmp_path: Path, gathered: dict[str, Any]) -> None:
    again = content([read_run(tmp_path / "run <b>&")])
    assert render(gathered) == render(again)


def test_every_file_of_the_page_is_used_and_short() -> None:
    used = {"page.html", *(f"{name}.js" for name in SCRIPTS), *(f"{name}.css" for name in STYLES)}
    assert {path.name for path in PAGE.iterdir()} == used
    for path in PAGE.iterdir():
        lines = path.read_text().splitlines()
        assert len(lines) <= 400 and max(map(len, lines)) <= 120, path.name


def test_numbers_that_json_lacks_are_refused(gathered: dict[str, Any]) -> None:
    gathered["tick"] = float("nan")
    with pytest.raises(ValueError, match="JSON"):
        render(gathered)
