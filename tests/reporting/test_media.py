# SPDX-License-Identifier: Apache-2.0
"""Which file is which video, and the URL by which a page reaches it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest

from asl_fast.reporting.media import find_videos


def files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_files_are_found_by_name_and_by_path(tmp_path: Path) -> None:
    folder = files(tmp_path / "videos", "a.mp4", "deep/b.MKV", "c/d.webm", "notes.txt", "e.mp4/inside.txt")
    found = find_videos(["a", "b", "c/d", "a.mp4", "notes", "e", "missing"], folder, tmp_path / "run" / "report.html")
    assert found == {
        "a": "./../videos/a.mp4",
        "b": "./../videos/deep/b.MKV",
        "c/d": "./../videos/c/d.webm",
        "a.mp4": "./../videos/a.mp4",
    }


def test_of_several_files_the_one_that_browsers_play(tmp_path: Path) -> None:
    folder = files(tmp_path, "a.avi", "a.mkv", "a.webm")
    assert find_videos(["a"], folder, tmp_path / "report.html") == {"a": "./a.webm"}


def test_names_are_quoted(tmp_path: Path) -> None:
    name = "x #1?%<b>'\"é:y"
    folder = files(tmp_path, f"{name}.mp4")
    (url,) = find_videos([name], folder, tmp_path / "report.html").values()
    assert not set("<>'\"?# ") & set(url) and ":" not in url
    assert unquote(url) == f"./{name}.mp4"


def test_a_folder_without_any_of_them_is_refused(tmp_path: Path) -> None:
    folder = files(tmp_path, "other.mp4", "another.mp4")
    with pytest.raises(ValueError, match=r"none of its 2 video files .* 1 video of the run .* for example first\.mp4"):
        find_videos(["first"], folder, tmp_path / "report.html")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        find_videos(["first"], tmp_path / "nowhere", tmp_path / "report.html")
