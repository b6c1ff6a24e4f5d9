# SPDX-License-Identifier: Apache-2.0
"""Small video files whose frames show their number, written in milliseconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asl_fast.video.decode import Image, open_video

HEIGHT, WIDTH, BITS, SQUARE = 48, 64, 12, 16


def number_image(number: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Image:
    """Draw a number as 3 x 4 squares, black for 0 and white for 1, lowest bit at the top left."""
    image = np.zeros((*size, 3), np.uint8)
    for bit in range(BITS):
        top, left = bit // 4 * SQUARE, bit % 4 * SQUARE
        image[top : top + SQUARE, left : left + SQUARE] = 255 * (number >> bit & 1)
    return image


def shown_number(image: NDArray[Any]) -> int:
    """Read the number of an image; compression may have changed it a little."""
    squares = image[:HEIGHT, :WIDTH].reshape(3, SQUARE, 4, SQUARE, -1)[:, 4:12, :, 4:12].mean(axis=(1, 3, 4))
    return sum(1 << int(bit) for bit in np.flatnonzero(squares.ravel() > squares.max(initial=1) / 2))


def write_clip(
    path: Path,
    frames: int | Iterable[Image],
    *,
    fps: int | Fraction = 25,
    times_ms: Sequence[int] | None = None,
    codec: str = "mpeg4",
    pixels: str = "yuv420p",
    audio: bool = False,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a clip.

    Args:
        path: The file; its ending chooses the container.
        frames: That many frames with their numbers, or images.
        fps: Frames per second.
        times_ms: When each frame appears; None is at an even rate.
        codec: Of the video stream.
        pixels: How it stores them.
        audio: Put a second of silence beside it.
        options: Of the codec.
    """
    import av

    images = list(map(number_image, range(frames)) if isinstance(frames, int) else frames)
    base = Fraction(1, 1000) if times_ms is not None else 1 / Fraction(fps)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=Fraction(fps))
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixels
        stream.options = options or {}
        stream.codec_context.time_base = base
        if audio:
            _add_silence(container)
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = index if times_ms is None else times_ms[index]
            frame.time_base = base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_sound(path: Path, cover: bool = False) -> Path:
    """Write a file with a second of silence and no picture, or with one on its cover."""
    import av

    with av.open(str(path), "w") as container:
        if not cover:
            _add_silence(container)
            return path
        stream: Any = container.add_stream("mjpeg", rate=1)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuvj420p"
        stream.disposition = av.stream.Disposition.attached_pic
        _add_silence(container)
        frame = av.VideoFrame.from_ndarray(number_image(5), format="rgb24")
        frame.pts = 0
        container.mux([*stream.encode(frame), *stream.encode()])
    return path


def _add_silence(container: Any) -> None:
    import av

    stream = container.add_stream("aac", rate=8000)
    stream.layout = "mono"
    for start in range(0, 8000, 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 8000, start
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def numbers_and_times(path: Path) -> tuple[list[int], list[float]]:
    """Read a clip: the numbers that its frames show and when they appear."""
    with open_video(path) as video:
        pairs = [(shown_number(frame.image), frame.start_sec) for frame in video.frames()]
    return [number for number, _ in pairs], [time for _, time in pairs]
