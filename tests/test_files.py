# SPDX-License-Identifier: Apache-2.0
"""Files are read with errors that name them, and written whole or not at all."""

from __future__ import annotations

import errno
import gzip
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from asl_fast.files import atomic_write, is_stream, number, read_csv, read_json, read_text, write_json, write_text


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError, RuntimeError])
def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, interruption: type[BaseException]) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(interruption), atomic_write(path) as file:
        file.write(b"ne")
        raise interruption
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    content = {"ä": [1, 2.5, None], "b": {}}
    for indent in (None, 2):
        write_json(tmp_path / "a.json", content, indent=indent)
        assert read_json(tmp_path / "a.json") == content
    write_text(tmp_path / "a.txt", "é\n")
    assert read_text(tmp_path / "a.txt") == "é\n"
    assert sorted(os.listdir(tmp_path)) == ["a.json", "a.txt"]
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_write_that_fails_names_its_target(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^cannot write .*/no/a\.json: No such file or directory$"):
        write_json(tmp_path / "no" / "a.json", {})
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=r"^cannot write .*/folder: Is a directory; what it held before is intact$"):
        write_text(tmp_path / "folder", "")
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json(tmp_path / "a.json", [wrong])
    assert os.listdir(tmp_path) == ["folder"]


def test_byte_order_marks_and_gzip(tmp_path: Path) -> None:
    text = '\ufeff{"a": 1}'
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "c.csv").write_text("\ufeffname,id\nx,1\n", encoding="utf-8")
    assert read_json(tmp_path / "a.json") == read_json(tmp_path / "b.json.gz") == {"a": 1}
    assert read_csv(tmp_path / "c.csv", ["name"]) == [{"name": "x", "id": "1"}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": [1,', r"not valid JSON at line 1, column 10: .*; is the file complete\?"),
        (b'{"a": {"b": 1, "c": 2, "b": 3}}', "key 'b' occurs twice in one object"),
        (b"\xff\xfe\x00", "cannot be read as UTF-8, it is UTF-16; save it as UTF-8"),
        (b"\xfe\xff\x00{", "cannot be read as UTF-8, it is UTF-16"),
        (b'{"a":\n"\xff"}', "cannot be read .* line 2.*; download it again"),
        (b"[" * 10**5, r"nested too deeply, 100000 times at line 1, column 100000"),
        (b'{"a":\n' * 10**5, r"nested too deeply, 100000 times at line 100000, column 1"),
        (b"[1" + b"0" * 5000 + b"]", r", line 1: 10000000000000000000\.\.\. is a number of 5001 digits; correct it"),
        (b'{"a": [1, "x\\ud800"]}', r", 'a'\[1\]: 'x\\ud800' is no text"),
        (b'{"a": {"\\uDFFFx": 1}}', r", 'a', key '\\udfffx': '\\udfffx' is no text"),
        (b"", "not valid JSON"),
    ],
)
def test_damaged_json_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.json.*{message}"):
        read_json(tmp_path / "a.json")
    with pytest.raises(FileNotFoundError, match=r"b\.json does not exist"):
        read_json(tmp_path / "b.json")
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(json.dumps(list(range(100))).encode())[:-12])
    with pytest.raises(ValueError, match=r"a\.json\.gz cannot be read"):
        read_json(tmp_path / "a.json.gz")


def test_tables(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'id,words\r\n1,"two\r\nlines"\r\n2,"a, b"\r\n')
    assert read_csv(path, ["id"]) == [{"id": "1", "words": "two\r\nlines"}, {"id": "2", "words": "a, b"}]
    with pytest.raises(ValueError, match=r"a\.csv: no column 'key'; its columns are id, words"):
        read_csv(path, ["id", "key"])
    for row in ("1", "1,2,3"):
        path.write_text(f"id,words\n{row}\n")
        with pytest.raises(ValueError, match=r"a\.csv, line 2: expected 2 fields"):
            read_csv(path, ["id"])


@pytest.mark.parametrize(("value", "expected"), [(1, 1.0), (2.5, 2.5), (" 3e1 ", 30.0)])
def test_numbers(value: Any, expected: float) -> None:
    assert number(value, "here") == expected


@pytest.mark.parametrize("value", [None, True, "x", "nan", float("inf"), [1], 10**400])
def test_what_is_no_number(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^here: expected a number, found "):
        number(value, "here")


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.ENOSPC, "; free some space"), (errno.EROFS, "; choose a folder that can be written"), (errno.ENOENT, "")],
)
def test_a_file_that_cannot_be_written_comes_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    def failing(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", failing)
    path = tmp_path / "file.txt"
    with pytest.raises(OSError) as caught:
        write_text(path, "x")
    assert str(caught.value).startswith(f"cannot write {path}: {os.strerror(number)}{advice}")
    assert bool(advice) == (";" in str(caught.value))
    assert os.listdir(tmp_path) == []


def test_text_that_needs_a_pair_of_escapes(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": "\\ud83d\\ude00"}')
    assert read_json(tmp_path / "a.json") == {"a": "\U0001f600"}


def test_tables_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for text, message in (
        ("id\n" + "1\n" * 3 + "x" * 140_000, r"a\.csv, line 5: field larger than field limit"),
        ("x" * 140_000, r"a\.csv, line 1: field larger than field limit"),
        ("id\n1\x00\n", r"a\.csv, line 2: line contains NUL") if sys.version_info < (3, 11) else ("", "no column"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_csv(path, ["id"])
    path.write_bytes("id\n1\n".encode("utf-16"))
    with pytest.raises(ValueError, match=r"a\.csv cannot be read as UTF-8, it is UTF-16"):
        read_csv(path, ["id"])


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_only_files_are_read(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "a.json")
    with pytest.raises(ValueError, match=r"a\.json cannot be read: it is a (pipe|folder|device or socket), not a file"):
        read_json(tmp_path / "a.json")


def test_text_that_expands_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASL_FAST_MAX_UNPACKED_MB", "1")
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b" " * 2**24))
    with pytest.raises(ValueError, match=r"a\.json\.gz: what is unpacked so far would take 4 MB unpacked"):
        read_json(tmp_path / "a.json.gz")


@pytest.mark.parametrize(
    ("beginning", "message"),
    [
        (b"\x1f\x8b\x08", "compressed by gzip; let its name end in .gz"),
        (b"PK\x03\x04", "an archive, as spreadsheets are; save the table as .csv"),
        (b"\x93NUMPY\x01", "a NumPy array"),
        (b"\x80\x04", "a pickle; pickles can run any code and are not read"),
        (b"\x89HDF\r\n", "an HDF5 file"),
        ("{}".encode("utf-16"), "UTF-16; save it as UTF-8"),
    ],
)
def test_files_of_other_kinds_are_named(tmp_path: Path, beginning: bytes, message: str) -> None:
    (tmp_path / "a.json").write_bytes(beginning + b"0")
    with pytest.raises(ValueError, match=f"a.json cannot be read as UTF-8, it is {message}"):
        read_json(tmp_path / "a.json")


def test_json_lines_and_other_extensions_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}\n{}\n")
    with pytest.raises(ValueError, match=r"line 2, column 1.* are these JSON lines"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.txt").write_text("video,start")
    with pytest.raises(ValueError, match=r"what is not named \.csv or \.tsv is read as JSON"):
        read_json(tmp_path / "a.txt")


def test_no_file_takes_the_place_of_a_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(OSError, match=r"^cannot write .*a\.json: it is a device or pipe, not a file$"):
        write_json(tmp_path / "a.json", {})
    assert not (tmp_path / "a.json").is_file() and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(IsADirectoryError, match="it is a folder; name a file in it"):
        write_json(Path("."), {})


def test_a_link_stays_and_its_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "link.json").symlink_to("far/real.json")
    for value in (1, 2):  # the target is not there at first
        write_json(tmp_path / "link.json", value)
        assert (tmp_path / "link.json").is_symlink() and read_json(tmp_path / "far" / "real.json") == value


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="where these names are")
def test_what_a_process_has_open_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/stdout")
    with (tmp_path / "open").open("wb") as file:
        for path in ("/dev/stdout", "/dev/fd/1", f"/proc/self/fd/{file.fileno()}", "/dev/null", tmp_path / "link"):
            assert is_stream(Path(path)), path
        assert not is_stream(tmp_path / "open") and not is_stream(tmp_path / "none")
