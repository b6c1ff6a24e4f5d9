# SPDX-License-Identifier: Apache-2.0
"""The page in Chromium without a network: what is drawn, what mouse and keyboard do, in the dark and on paper."""

from __future__ import annotations

import re
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asl_fast.reporting.write import write_page
from benchmarks.chromium import NoBrowser, chromium
from tests.reporting.made_up import HARMFUL_CLASS, made_up_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page


def silence(path: Path, seconds: int) -> None:
    """Write sound without a sound: the smallest thing that a video element plays and that has a length."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 1, 8000, 0, "NONE", ""))
        file.writeframes(b"\x80" * 8000 * seconds)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium once."""
    started = chromium()
    try:
        found = started.__enter__()
    except NoBrowser as reason:
        pytest.skip(str(reason))
    yield found
    started.__exit__(None, None, None)


class Opened:
    """A page in a window, with what it complained about."""

    def __init__(self, browser: Browser, path: Path, **options: object) -> None:
        size = {"width": 1280, "height": 900}
        self.context = browser.new_context(offline=True, viewport=size, **options)  # type: ignore[arg-type]
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.resolve().as_uri())
        self.page.wait_for_selector("html[data-ready=all]", state="attached")

    def drawn(self) -> Opened:
        """Wait until the first timeline is there."""
        self.page.wait_for_selector("html[data-timeline=drawn]", state="attached")
        return self

    def count(self, selector: str) -> int:
        return self.page.locator(selector).count()

    def text(self, selector: str) -> str:
        return self.page.locator(selector).first.inner_text()

    @property
    def area(self) -> Locator:
        return self.page.locator(".area")

    def span(self) -> tuple[str, int]:
        """First and last tick of the timeline, and how many there are."""
        ticks = self.page.locator(".area .tick").all_text_contents()
        return f"{ticks[0]} to {ticks[-1]}", len(ticks)


@pytest.fixture
def open_run(browser: Browser, tmp_path: Path) -> Iterator[Opened]:
    """Open the page of the made-up run."""
    opened = Opened(browser, write_page([made_up_run(tmp_path / "run").path]).page).drawn()
    yield opened
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []
    opened.context.close()


FOUND = ".area rect.found"


def test_it_opens_offline_and_shows_everything(open_run: Opened) -> None:
    assert open_run.page.title() == "steps: run" and open_run.text("h1") == "steps"
    sections = open_run.page.locator("main h2").all_inner_texts()
    assert sections == ["Overview", "Videos", "Training", "Scores", "Errors", "Confusion", "Sensitivity"]
    assert open_run.text(".videohead h3") == "first"
    # Every figure has drawn something.
    plots = open_run.page.locator("figure .plot")
    assert plots.count() > 8
    assert all(plots.nth(place).locator("svg").count() for place in range(plots.count()))
    assert open_run.count("#sensitivity path.planted") == 2 and open_run.count("#sensitivity path.line.run0") == 2


def test_harmful_names_are_shown_as_they_are(open_run: Opened) -> None:
    assert open_run.page.title() == "steps: run"
    assert HARMFUL_CLASS in open_run.page.locator("#scores select").first.inner_text()
    open_run.page.locator(".row").nth(1).click()
    assert open_run.text(".videohead h3").startswith("a\"b'<img src=x onerror=alert(1)>\\x1b[31m")
    assert open_run.count("img") == 0


def test_the_slider_changes_what_is_shown(open_run: Opened) -> None:
    slider = open_run.page.locator(".slider input")
    slider.fill("0")
    assert open_run.count(FOUND) == 4 and "2 found, 1 missed, 2 wrong" in open_run.text(".counts")
    assert open_run.count(".area .truth.missed") == 1
    slider.fill("0.7")
    assert open_run.count(FOUND) == 1 and "1 found, 2 missed, 0 wrong" in open_run.text(".counts")
    assert open_run.count(".area .truth.missed") == 2
    assert open_run.text(".slider output") == "0.70" and open_run.text(".row .sum") == "1/3 · 0"
    slider.fill("1")
    assert open_run.count(FOUND) == 0


def test_the_pointer_reads_what_it_is_on(open_run: Opened) -> None:
    open_run.page.locator(".slider input").fill("0")
    open_run.page.locator(".area .truth").first.hover()
    shown = open_run.text(".tip.shown")
    assert "run" in shown and "1.00 \u2013 3.00 s" in shown and "yes, score 0.900" in shown
    open_run.page.locator(".area .found.right").first.hover()
    assert re.search(r"kind\s+true positive", open_run.text(".tip.shown"))
    assert re.search(r"lies on\s+jump, tIoU 0\.67", open_run.text(".tip.shown"))
    open_run.page.mouse.move(5, 5)
    assert open_run.count(".tip.shown") == 0


def test_the_keyboard_reaches_everything(open_run: Opened) -> None:
    whole, _ = open_run.span()
    open_run.area.focus()
    open_run.page.keyboard.press("+")
    zoomed, _ = open_run.span()
    assert zoomed != whole and open_run.count(".window") == 1
    open_run.page.keyboard.press("ArrowRight")
    assert open_run.span()[0] != zoomed
    open_run.page.keyboard.press("0")
    assert open_run.span()[0] == whole and open_run.count(".window") == 0
    before = open_run.text(".slider output")
    open_run.page.keyboard.press("]")
    assert float(open_run.text(".slider output")) == pytest.approx(float(before) + 0.05)
    open_run.page.keyboard.press("n")
    assert open_run.count(".area .cursor") == 1
    open_run.page.keyboard.press("ArrowDown")
    assert open_run.text(".videohead h3").startswith('a"b')
    open_run.page.keyboard.press("ArrowUp")
    assert open_run.text(".videohead h3") == "first"


def test_the_mouse_zooms_and_moves(open_run: Opened) -> None:
    box = open_run.area.bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] * 0.6, box["y"] + box["height"] / 2
    whole, _ = open_run.span()
    open_run.page.mouse.move(*middle)
    open_run.page.keyboard.down("Control")
    open_run.page.mouse.wheel(0, -300)
    open_run.page.keyboard.up("Control")
    open_run.page.wait_for_selector(".window", state="attached")
    start = open_run.page.locator(".area .truth").first.get_attribute("x")
    open_run.page.mouse.down()
    open_run.page.mouse.move(middle[0] + 60, middle[1], steps=3)
    open_run.page.mouse.up()
    open_run.page.wait_for_timeout(100)
    assert open_run.page.locator(".area .truth").first.get_attribute("x") != start
    assert open_run.count(".area .cursor") == 0  # a drag is no click
    open_run.page.get_by_role("button", name="Show the whole video").click()
    assert open_run.span()[0] == whole


def test_videos_are_found_and_sorted(open_run: Opened) -> None:
    names = open_run.page.locator(".row .name")
    assert names.count() == 3
    open_run.page.locator("input[type=search]").fill("EMP")
    assert names.all_inner_texts() == ["empty"]
    names.first.click()
    assert open_run.text(".videohead h3") == "empty" and "0 annotated actions" in open_run.text(".counts")
    assert "Nothing is annotated here" in open_run.text(".timeline .empty")
    open_run.page.locator("input[type=search]").fill("")
    open_run.page.locator(".list select").select_option(label="most annotated")
    assert names.first.inner_text() == "first"
    open_run.page.locator("input[type=search]").fill("no such")
    assert "No video has such a name" in open_run.text(".rows")


def test_annotated_actions_as_a_table(open_run: Opened) -> None:
    open_run.page.locator(".table summary").click()
    open_run.page.wait_for_selector(".table tbody tr")
    rows = open_run.page.locator(".table tbody tr").all_inner_texts()
    assert rows[0].split("\t") == ["run", "1.00", "3.00", "0.900"]
    assert len(rows) == 3 and rows[2].endswith("missed")


def test_curves_of_a_class_and_threshold(open_run: Opened) -> None:
    line = open_run.page.locator("#scores .halves figure").nth(1).locator("path.line:not(.quiet)")
    mean = line.get_attribute("d")
    open_run.page.locator("#scores .halves select").first.select_option(label="run")
    assert line.get_attribute("d") != mean
    assert open_run.count("#scores .halves figure:nth-child(2) path.quiet") == 0


def test_in_the_dark_as_the_system_has_it_and_by_the_button(browser: Browser, tmp_path: Path) -> None:
    path = write_page([made_up_run(tmp_path / "run").path]).page
    colours = {}
    for scheme in ("light", "dark"):
        opened = Opened(browser, path, color_scheme=scheme).drawn()
        colours[scheme] = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
        if scheme == "dark":
            button = opened.page.locator(".theme")
            button.click()
            assert button.inner_text() == "Theme: light"
            assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == colours["light"]
        assert opened.complaints == []
        opened.context.close()
    assert colours["light"] == "rgb(255, 255, 255)" and colours["dark"] != colours["light"]


def test_on_paper_it_is_light_and_without_controls(browser: Browser, tmp_path: Path) -> None:
    path = write_page([made_up_run(tmp_path / "run").path]).page
    opened = Opened(browser, path, color_scheme="dark").drawn()
    opened.page.emulate_media(media="print")
    assert opened.page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--surface')") == "#ffffff"
    assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    for hidden in ("nav", ".list", ".theme", ".buttons"):
        assert not opened.page.locator(hidden).is_visible()
    assert opened.page.locator(".area svg").is_visible()
    assert opened.page.pdf(format="A4").startswith(b"%PDF")
    made = opened.page.locator(".about details")
    for event, shown in (("beforeprint", True), ("afterprint", False)):
        opened.page.evaluate(f"window.dispatchEvent(new Event('{event}'))")
        assert made.evaluate("node => node.open") is shown
    opened.context.close()


def test_a_click_goes_to_that_moment_of_the_video(browser: Browser, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    silence(videos / "first.mp4", 20)  # browsers go by what is in a file
    opened = Opened(browser, write_page([made_up_run(tmp_path / "run").path], videos=videos).page).drawn()
    video = opened.page.locator("video")
    assert video.get_attribute("src") == "./../videos/first.mp4" and video.is_visible()
    truth = opened.page.locator(".area .truth").first.bounding_box()
    assert truth is not None
    opened.page.mouse.click(truth["x"] + truth["width"] / 2, truth["y"] + 2)
    opened.page.wait_for_timeout(500)
    assert video.evaluate("video => video.duration") == 20
    assert video.evaluate("video => video.currentTime") == pytest.approx(2.0, abs=0.05)
    assert opened.count(".area .cursor") == 1
    opened.page.locator(".row").nth(2).click()
    assert not video.is_visible() and "no file of this video" in opened.text(".player .note")
    assert opened.complaints == []
    opened.context.close()


def test_two_runs_beside_each_other(browser: Browser, tmp_path: Path) -> None:
    a, b = made_up_run(tmp_path / "a"), made_up_run(tmp_path / "b", sensitivity=False)
    opened = Opened(browser, write_page([a.path, b.path]).page).drawn()
    assert opened.text("header p") == "comparison of a and b"
    assert "+0.0" in opened.text(".tile .note")
    for slider in range(2):
        opened.page.locator(".slider input").nth(slider).fill("0")
    assert opened.count(f"{FOUND}.run0") == opened.count(f"{FOUND}.run1") == 4
    opened.page.locator(".slider input").nth(1).fill("0.7")
    assert opened.count(f"{FOUND}.run0") == 4 and opened.count(f"{FOUND}.run1") == 1
    assert opened.count("#scores .halves figure:first-child path.line") == 2
    assert "b: This run was trained without class-level sensitivity" in opened.text("#sensitivity .empty")
    assert opened.complaints == []
    opened.context.close()


def test_runs_scored_at_different_thresholds(browser: Browser, tmp_path: Path) -> None:
    a, b = made_up_run(tmp_path / "a"), made_up_run(tmp_path / "b", tious=(0.5, 0.9))
    opened = Opened(browser, write_page([a.path, b.path]).page).drawn()
    assert "at different thresholds" in opened.text(".notes")
    table = opened.page.locator("#scores table").first
    assert table.locator("thead th").all_inner_texts() == ["tIoU", "0.3", "0.5", "0.7", "0.9", "average"]
    first, second = (row.split("\t") for row in table.locator("tbody tr").all_inner_texts())
    assert first[4] == "\u2013" and second[1] == second[3] == "\u2013" and first[2] == second[2]
    opened.page.locator("#scores .halves select").nth(1).select_option(label="0.9")
    assert opened.count("#scores .halves figure:nth-child(2) path.line") == 1
    assert opened.complaints == []
    opened.context.close()


@pytest.mark.parametrize("case", ["unfinished", "nothing found", "nothing annotated", "one class"])
def test_empty_states_say_why(browser: Browser, tmp_path: Path, case: str) -> None:
    nothing: dict[str, list[str]] = {"video": [], "segments": [], "labels": [], "scores": []}
    options, said = {
        "unfinished": ({"finished": False}, "2 of 2 epochs are done"),
        "nothing found": ({"found": nothing}, "This run detected nothing"),
        "nothing annotated": ({"truth": nothing}, "no annotated action in its test split"),
        "one class": (
            {
                "truth": {"video": ["first"], "segments": [[1, 2]], "labels": ["run"]},
                "found": {"video": ["first"], "segments": [[1, 2]], "labels": ["run"], "scores": [0.5]},
                "classes": ("run",),
                "sensitivity": False,
                "planted": False,
            },
            "without class-level sensitivity",
        ),
    }[case]
    run = made_up_run(tmp_path / "run", **options)  # type: ignore[arg-type]
    opened = Opened(browser, write_page([run.path]).page)
    if case != "unfinished":
        opened.drawn()
    assert said in opened.page.locator("main").inner_text()
    assert opened.complaints == []
    opened.context.close()
