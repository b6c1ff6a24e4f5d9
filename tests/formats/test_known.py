# SPDX-License-Identifier: Apache-2.0
"""Which formats there are, where their files go, and that they are written whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from asl_fast.formats.known import EACH, NAMES, TOGETHER, parse_formats, places, write
from tests.formats.odd import ORIGIN, RECORDINGS


@pytest.mark.parametrize(
    ("output", "formats", "expected"),
    [
        ("out/d.json", "json", ["out/d.json"]),
        ("out/d.txt", "json", ["out/d.txt"]),
        ("out/d.csv", "csv", ["out/d.csv"]),
        ("out/d.json", "csv,json", ["out/d.csv", "out/d.json"]),
        ("out/d.csv", "json,csv", ["out/d.json", "out/d.csv"]),
        ("out/d.txt", "csv,json", ["out/d.txt", "out/d.json"]),
        ("out/t.json", "label-studio", ["out/t.json", "out/t.label-studio.xml"]),
        ("out/d.json", "json,fiftyone,srt", ["out/d.json", "out/d.fiftyone.json", "out/d/"]),
        ("out", "srt,vtt", ["out/"]),
        ("out/film.srt", "srt", ["out/film.srt"]),
        ("out/film.EAF", "elan", ["out/film.EAF"]),
        ("out/film.srt", "srt,vtt", ["out/film.srt/"]),
        ("v1.2", "json", ["v1.2"]),
    ],
)
def test_where_files_go(output: str, formats: str, expected: list[str]) -> None:
    found = places(Path(output), parse_formats(formats))
    shown = [str(path) for path in found.files.values()]
    shown += [] if found.folder is None else [f"{found.folder}/"]
    shown += [] if found.single is None else [str(found.single)]
    assert shown == expected


def test_a_file_and_a_folder_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match=r"--output found would be a file and a folder; .* such as found\.json"):
        places(Path("found"), ("json", "srt"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cvs", r"'cvs' is no format; did you mean 'csv'\?"),
        ("", "needs one or more of json, csv"),
        (",", "needs one or more of json, csv"),
        ("json,xyzzy", "'xyzzy' is no format; known are json, csv, label-studio, fiftyone, srt, vtt, elan"),
    ],
)
def test_unknown_formats_are_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_formats(text)


def test_formats_are_asked_for_once_each() -> None:
    assert parse_formats(" csv, json,csv ") == ("csv", "json")
    assert {*TOGETHER, *EACH} == set(NAMES)


def test_everything_is_written(tmp_path: Path) -> None:
    target = places(tmp_path / "found.json", NAMES)
    written = write(target, RECORDINGS, ORIGIN)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("found", "found.csv", "found.fiftyone.json", "found.label-studio.json", "found.label-studio.xml")
    ]
    endings = [path.suffix for path in written[4:]]
    assert endings == [".srt"] * 3 + [".vtt"] * 3 + [".eaf"] * 3
    assert sorted(written[4:]) == sorted((tmp_path / "found").iterdir())
    before = {path: path.read_bytes() for path in written}
    assert write(target, RECORDINGS, ORIGIN) == written
    assert {path: path.read_bytes() for path in written} == before


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = places(tmp_path / "found.csv", ("csv",))
    write(target, RECORDINGS, ORIGIN)
    before = (tmp_path / "found.csv").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"found\.csv: No space left on device; what it held before is intact"):
        write(target, RECORDINGS[1:], ORIGIN)
    assert (tmp_path / "found.csv").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_no_recording_is_no_file(tmp_path: Path) -> None:
    assert write(places(tmp_path / "none", ("srt", "elan")), (), ORIGIN) == []
