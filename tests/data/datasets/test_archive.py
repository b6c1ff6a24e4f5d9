# SPDX-License-Identifier: Apache-2.0
"""Zips as downloaded, and zips made to exhaust whoever opens them."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import pytest

from asl_fast.data.datasets.archive import open_archive

WANTED = re.compile(r"raw/a\.txt$")


def zipped(**files: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), content)
    return stream.getvalue()


def test_a_zip_in_a_zip_is_read(tmp_path: Path) -> None:
    inner = zipped(data__raw__a_txt=b"1 2")
    for name, content in (("one.zip", inner), ("two.zip", zipped(inner_zip=inner))):
        (tmp_path / name).write_bytes(content)
        archive = open_archive(tmp_path / name, WANTED)
        assert archive.names == ("raw/a.txt",) and archive.read("raw/a.txt") == b"1 2"


def test_zips_in_zips_in_zips_are_refused(tmp_path: Path) -> None:
    content = zipped(x_txt=b"")
    for _ in range(50):
        content = zipped(inner_zip=content)
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"a\.zip/inner\.zip holds zips in zips in zips, such as 'inner\.zip'; unpack it"
    ):
        open_archive(tmp_path / "a.zip", WANTED)


def test_a_zip_that_expands_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASL_FAST_MAX_UNPACKED_MB", "1")
    (tmp_path / "a.zip").write_bytes(zipped(raw__a_txt=bytes(2**22)))
    with pytest.raises(ValueError, match=r"a\.zip/raw/a\.txt would take 4 MB unpacked"):
        open_archive(tmp_path / "a.zip", WANTED).read("raw/a.txt")
    (tmp_path / "b.zip").write_bytes(zipped(big_zip=bytes(2**22)))
    with pytest.raises(ValueError, match=r"b\.zip/big\.zip would take 4 MB unpacked"):
        open_archive(tmp_path / "b.zip", WANTED)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_a_damaged_zip_is_named(tmp_path: Path, share: float) -> None:
    content = zipped(inner_zip=zipped(raw__a_txt=bytes(range(256)) * 64))
    (tmp_path / "a.zip").write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"a\.zip"):
        open_archive(tmp_path / "a.zip", WANTED)
