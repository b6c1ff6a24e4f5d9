# SPDX-License-Identifier: Apache-2.0
"""The other decoder: the same frames at the same times, and the same words for what is wrong with a file."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from asl_fast.extract import main
from asl_fast.video.decode import DecoderName, Frame, VideoError, open_video
from asl_fast.video.torchcodec_frames import require_torchcodec
from tests.video.clips import write_clip

pytest.importorskip("av")
try:
    require_torchcodec()
    why_not = ""
except ImportError as error:
    why_not = str(error)
needs_torchcodec = pytest.mark.skipif(bool(why_not), reason=why_not)


def frames(path: Path, decoder: DecoderName) -> tuple[list[Frame], str]:
    """Return all frames before the damage, and what is said of it."""
    found: list[Frame] = []
    try:
        with open_video(path, decoder=decoder) as video:
            found.extend(video.frames())
    except VideoError as error:
        return found, str(error)
    return found, ""


def check_same(path: Path) -> None:
    (mine, nothing), (theirs, problem) = frames(path, "pyav"), frames(path, "torchcodec")
    assert (nothing, problem) == ("", "") and len(mine) == len(theirs) > 3
    for one, other in zip(mine, theirs, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_allclose(one[:2], other[:2], atol=1e-9)


@needs_torchcodec
@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "mpeg4"), ("a.webm", "libvpx"), ("a.avi", "mpeg4"), ("a.ts", "libx264")],
)
def test_the_same_frames_at_the_same_times(tmp_path: Path, name: str, codec: str) -> None:
    check_same(write_clip(tmp_path / name, 20, fps=30, codec=codec))


@needs_torchcodec
def test_variable_rates_odd_sizes_and_rotation(tmp_path: Path) -> None:
    check_same(write_clip(tmp_path / "variable.mp4", 6, times_ms=[0, 40, 60, 200, 210, 500]))
    images = np.random.default_rng(0).integers(0, 256, (5, 62, 94, 3), dtype=np.uint8)
    check_same(write_clip(tmp_path / "odd.mp4", images, codec="libx264"))
    path = write_clip(tmp_path / "turned.mp4", 5)
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    matrix = (0, 1, 0, -1, 0, 0, 0, 0, 0x4000)
    data[place : place + 36] = b"".join((each << 16 & 0xFFFFFFFF).to_bytes(4, "big") for each in matrix)
    path.write_bytes(data)
    check_same(path)


@needs_torchcodec
def test_truncated_and_damaged_files_are_told(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", 50, options={"g": "5"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    for decoder in ("pyav", "torchcodec"):
        found, problem = frames(path, decoder)
        assert len(found) > 10 and problem.startswith((f"{path}: truncated", f"{path}: damaged"))
    path = write_clip(tmp_path / "b.mp4", 50, codec="libx264", options={"g": "10", "bf": "0"})
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 3
    data[middle : middle + 60] = b"\xff" * 60
    path.write_bytes(data)
    found, problem = frames(path, "torchcodec")
    assert len(found) < 50 and "b.mp4: damaged" in problem and " after " in problem


@needs_torchcodec
def test_features_do_not_depend_on_the_decoder(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", 20, codec="libx264")
    words = ["--videos", str(clip), "--window", "4", "--stride", "2"]
    for decoder in ("pyav", "torchcodec"):
        assert main([*words, "--output", str(tmp_path / decoder), "--decoder", decoder]) == 0
    assert (tmp_path / "pyav" / "a.npy").read_bytes() == (tmp_path / "torchcodec" / "a.npy").read_bytes()


def test_where_it_is_not_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    clip = write_clip(tmp_path / "a.mp4", 20)
    assert main(["--videos", str(clip), "--output", str(tmp_path / "out"), "--decoder", "torchcodec"]) == 2
    error = capsys.readouterr().err
    assert "torchcodec does not load here" in error and "--decoder pyav" in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
