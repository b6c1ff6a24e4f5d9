# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from asl_fast.video.decode import Frame, VideoError, open_video
from asl_fast.video.even import evenly
from asl_fast.video.windows import count_windows, windows
from tests.video.clips import number_image, numbers_and_times, shown_number, write_clip, write_sound

pytest.importorskip("av")


def even_numbers(path: Path, fps: float | None = None) -> list[int]:
    with open_video(path) as video:
        return [shown_number(image) for image in evenly(video.frames(), fps or video.fps)]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "mpeg4"), ("a.mp4", "libx264"), ("a.mkv", "mpeg4"), ("a.webm", "libvpx"), ("a.avi", "mpeg4"),
     ("a.ts", "libx264")],
)  # fmt: skip
def test_frames_and_their_times_in_every_container(tmp_path: Path, name: str, codec: str) -> None:
    path = write_clip(tmp_path / name, 20, fps=30, codec=codec)
    numbers, times = numbers_and_times(path)
    assert numbers == list(range(20))
    # Matroska and WebM write milliseconds.
    np.testing.assert_allclose(times, np.arange(20) / 30, atol=0.0011)
    assert even_numbers(path) == list(range(20))


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "options"),
    [
        ("ten bits.mkv", "libx264", "yuv420p10le", {}),
        ("vidéo 影片.mov", "prores_ks", "yuv422p10le", {}),
        ("a.gif", "gif", "rgb8", {}),
        ("a.mpg", "mpeg2video", "yuv420p", {"flags": "+ildct+ilme"}),
        ("a.avi", "ffv1", "gray", {}),
        ("a.webm", "libvpx-vp9", "yuva420p", {}),
    ],
)
def test_what_cameras_and_programs_write(
    tmp_path: Path, name: str, codec: str, pixels: str, options: dict[str, str]
) -> None:
    path = write_clip(tmp_path / name, 12, codec=codec, pixels=pixels, options=options)
    assert even_numbers(path) == list(range(12))


@pytest.mark.parametrize("fps", [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(1), Fraction(120)])
def test_the_rate_is_that_of_the_header(tmp_path: Path, fps: Fraction) -> None:
    path = write_clip(tmp_path / "a.mp4", 10, fps=fps)
    with open_video(path) as video:
        assert video.fps == pytest.approx(float(fps), rel=1e-6)
        assert len(list(video.frames())) == 10
    assert even_numbers(path) == list(range(10))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_variable_frame_rate_goes_by_presentation_time(tmp_path: Path, name: str) -> None:
    times_ms = [0, 40, 60, 200, 210, 500, 540]
    path = write_clip(tmp_path / name, len(times_ms), times_ms=times_ms)
    numbers, times = numbers_and_times(path)
    assert numbers == list(range(len(times_ms)))
    np.testing.assert_allclose(times, np.array(times_ms) / 1000, atol=1e-6)
    shown = even_numbers(path, 50.0)
    expected = [max(k for k, ms in enumerate(times_ms) if ms <= 20 * i + 10) for i in range(28)]
    assert shown[:28] == expected


def test_another_rate_drops_or_repeats_frames(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 20, fps=20)
    assert even_numbers(path, 10.0) == [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]
    assert even_numbers(path, 40.0) == [k for k in range(20) for _ in range(2)]


def test_audio_is_ignored(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 10, audio=True)
    numbers, times = numbers_and_times(path)
    assert (numbers, times[0]) == (list(range(10)), 0.0)


@pytest.mark.parametrize("height_width", [(49, 65), (48, 64), (51, 67), (97, 129)])
def test_sizes_that_are_no_multiples_of_anything(tmp_path: Path, height_width: tuple[int, int]) -> None:
    images = [number_image(k, height_width) for k in (5, 2000, 7)]
    path = write_clip(tmp_path / "a.mkv", images, codec="ffv1")
    with open_video(path) as video:
        found = [frame.image for frame in video.frames()]
    assert [image.shape for image in found] == [(*height_width, 3)] * 3
    assert [shown_number(image) for image in found] == [5, 2000, 7]


def test_one_frame(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", [number_image(9)])
    assert even_numbers(path) == [9]


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_rotated_video_is_seen_upright(tmp_path: Path, turns: int) -> None:
    path = write_clip(tmp_path / "a.mp4", 3)
    data = bytearray(path.read_bytes())
    # The display matrix of the track header: (cos, sin, -sin, cos) for a rotation clockwise, in 16.16.
    place = data.index(b"tkhd") + 4 + 4 + 36
    cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][turns]
    matrix = [cos, sin, 0, -sin, cos, 0, 0, 0, 0x4000]
    data[place : place + 36] = b"".join((each << 16 & 0xFFFFFFFF).to_bytes(4, "big") for each in matrix)
    path.write_bytes(data)
    with open_video(path) as video:
        images = [frame.image for frame in video.frames()]
    assert images[0].shape == ((64, 48, 3) if turns % 2 else (48, 64, 3))
    assert [shown_number(np.rot90(image, turns)) for image in images] == [0, 1, 2]


def test_a_truncated_file_gives_its_frames_and_then_an_error_with_file_and_time(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", 50, codec="mpeg4", options={"g": "5"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    seen = []
    with open_video(path) as video, pytest.raises(VideoError, match=r"a\.mkv: (truncated|damaged).* after \d") as error:
        for image in evenly(video.frames(), video.fps):
            seen.append(shown_number(image))
    assert error.value.time_sec == pytest.approx(len(seen) / 25, abs=0.05)
    assert len(seen) > 10
    assert seen[:-1] == list(range(len(seen) - 1))


def test_a_damaged_file_gives_the_frames_before(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 50, codec="libx264", options={"g": "10", "bf": "0"})
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 3
    data[middle : middle + 60] = b"\xff" * 60
    path.write_bytes(data)
    seen = []
    with open_video(path) as video, pytest.raises(VideoError, match=r"a\.mp4: damaged.* after \d"):
        for frame in video.frames():
            seen.append(shown_number(frame.image))
    assert 0 < len(seen) < 50


def test_a_file_without_its_end_that_holds_the_index(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 20)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(VideoError, match=r"a\.mp4: "), open_video(path) as video:
        list(video.frames())


def test_what_is_no_video(tmp_path: Path) -> None:
    empty = tmp_path / "empty.mp4"
    empty.touch()
    with pytest.raises(VideoError, match=r"empty\.mp4: is empty"), open_video(empty):
        pass
    text = tmp_path / "text.mp4"
    text.write_text("no video\n" * 100)
    with pytest.raises(VideoError, match="no video that can be read"), open_video(text):
        pass
    with pytest.raises(FileNotFoundError, match=r"none\.mp4"), open_video(tmp_path / "none.mp4"):
        pass
    with pytest.raises(ValueError, match="it is a folder"), open_video(tmp_path):
        pass
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(ValueError, match="it is a pipe"), open_video(tmp_path / "pipe.mp4"):
        pass


def test_a_playlist_that_names_other_files_is_not_followed(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.ts", 5, codec="libx264")
    playlist = tmp_path / "list.mp4"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path / 'a.ts'}\n#EXT-X-ENDLIST\n")
    with pytest.raises(VideoError, match="no video that can be read"), open_video(playlist):
        pass


def test_a_file_without_a_video_stream(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "sound.mp4")
    with pytest.raises(VideoError, match="no video stream, only audio"), open_video(path):
        pass
    path = write_sound(tmp_path / "album.mp4", cover=True)
    with pytest.raises(VideoError, match="no video stream, only a picture, audio"), open_video(path):
        pass
    path = write_sound(tmp_path / "song.wav")
    with pytest.raises(VideoError, match=r"song\.wav: is no video .* \(another kind"), open_video(path):
        pass


def test_frames_beyond_all_reason_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "a.mp4", 3)
    monkeypatch.setattr("asl_fast.video.decode.MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(VideoError, match="64 x 48 pixels are too large"), open_video(path):
        pass


def test_time_stamps_that_cannot_be() -> None:
    def frames() -> Iterator[Frame]:
        yield Frame(0.0, 0.1, number_image(0))
        yield Frame(0.1, 0.2, number_image(1))
        raise VideoError("x", "time stamps jump", 0.2)

    seen = []
    with pytest.raises(VideoError, match=r"time stamps jump after 0\.20 s"):
        for image in evenly(frames(), 10):
            seen.append(shown_number(image))
    assert seen == [0, 1]


@pytest.mark.parametrize(("number", "window", "stride"), [(0, 16, 8), (15, 16, 8), (16, 16, 8), (31, 16, 8),
    (32, 16, 8), (100, 16, 1), (100, 4, 16), (7, 1, 1), (5, 5, 99)])  # fmt: skip
def test_windows(number: int, window: int, stride: int) -> None:
    found = list(windows(range(number), window, stride))
    assert len(found) == count_windows(number, window, stride) == max(0, (number - window) // stride + 1)
    assert found == [tuple(range(k * stride, k * stride + window)) for k in range(len(found))]
