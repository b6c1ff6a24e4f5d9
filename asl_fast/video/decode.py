# SPDX-License-Identifier: Apache-2.0
"""The frames of a video file by presentation time, decoded with PyAV (FFmpeg).

Only regular files and pipes are read, only as containers of video: a playlist, which could name other files and
addresses, is none. Audio is never decoded.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asl_fast.files import require_file
from asl_fast.video.torchcodec_frames import CONTAINERS, Decoded, TorchcodecError, decoded, require_torchcodec

DecoderName = Literal["pyav", "torchcodec"]
Image = NDArray[np.uint8]
"""(height, width, 3) red, green, blue."""

MAX_PIXELS = 8192 * 8192
"""No frame is larger: it would take 200 MB, and so would each of its kin that a decoder keeps."""
MAX_GAP_SEC = 3600.0
"""No frame stays on screen longer: beyond that the time stamps are damaged."""
_MAX_BACK_SEC = 1.0
_ALIGNED_SEC = 0.5
_ATTACHED_PICTURE = 0x400
"""AV_DISPOSITION_ATTACHED_PIC of FFmpeg."""
_USABLE_RATES = (0.05, 1000.0)
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,nut,mxf,h264,hevc,av1,obu,ivf,"
    "mjpeg,m4v,y4m,yuv4mpegpipe,dv,rm,wtv,vob,live_flv"
)


class VideoError(ValueError):
    """A video that cannot be read, or not to its end.

    Args:
        where: The file.
        what: What is wrong.
        time_sec: How far it was read; None where it could not be opened.
    """

    def __init__(self, where: str, what: str, time_sec: float | None = None) -> None:
        reached = "" if time_sec is None else f" after {time_sec:.2f} s"
        super().__init__(f"{where}: {what}{reached}")
        self.time_sec = time_sec


class _Corrupt(Exception):
    """A decoder says that a frame is damaged."""


class Frame(NamedTuple):
    """One frame as it is to be seen, its rotation done.

    Attributes:
        start_sec: When it appears, counted from the beginning of the video.
        end_sec: When it would be over if no other frame came.
        image: What it shows.
    """

    start_sec: float
    end_sec: float
    image: Image


@dataclass(frozen=True)
class VideoFile:
    """An opened video.

    Attributes:
        where: Its file, for messages.
        fps: Frames per second on average, by its header.
    """

    where: str
    fps: float
    _container: Any
    _stream: Any
    _torchcodec: Callable[[], Iterator[Decoded]] | None = None

    def frames(self) -> Iterator[Frame]:
        """Decode the frames in the order in which they are seen.

        Second 0 is the beginning of the video stream; where other streams begin more than half a second before it, it
        is theirs, as players have it.

        Raises:
            VideoError: With file and time, after the frames before it: for damage, an end before the one that the
                header promises, and time stamps that cannot be.
        """
        import av

        origin, last_sec, end_sec, count = None, 0.0, 0.0, 0
        try:
            for own_sec, duration_sec, image in self._decoded():
                origin = self._origin(own_sec) if origin is None else origin
                start_sec = max(own_sec - origin, 0.0)
                if start_sec > last_sec + MAX_GAP_SEC or start_sec < last_sec - _MAX_BACK_SEC:
                    raise VideoError(
                        self.where, f"time stamps jump from {last_sec:.2f} s to {start_sec:.2f} s", end_sec
                    )
                last_sec = max(start_sec, last_sec)
                end_sec = last_sec + (duration_sec or 1 / self.fps)
                yield Frame(last_sec, end_sec, image)
                count += 1
        except _Corrupt:
            raise VideoError(self.where, "damaged", end_sec) from None
        # A decoder that has seen no header of its codec has no format to name, which PyAV reports by IndexError.
        except (av.FFmpegError, IndexError, TorchcodecError) as error:
            what = "holds no frame that can be decoded" if count == 0 else f"damaged ({_words(error)})"
            raise VideoError(self.where, what, end_sec) from None
        if count == 0:
            raise VideoError(self.where, "holds no frame")
        promised = self.promised_sec
        if promised is not None and end_sec < promised - max(0.5, 0.02 * promised):
            raise VideoError(self.where, f"truncated: its header promises {promised:.2f} s, its frames end", end_sec)

    def _decoded(self) -> Iterator[Decoded]:
        """Decode the frames with the times that the file has."""
        if self._torchcodec is not None:
            yield from self._torchcodec()
            return
        base = float(self._stream.time_base or 0) or 1 / self.fps
        for number, frame in enumerate(self._container.decode(self._stream)):
            if frame.is_corrupt:
                raise _Corrupt
            own_sec = number / self.fps if frame.pts is None else float(frame.pts * base)
            yield Decoded(own_sec, float(frame.duration * base) if frame.duration else 0.0, _seen(frame))

    def _origin(self, first_sec: float) -> float:
        """Return the time that second 0 is."""
        start = self._container.start_time
        earlier = first_sec if start is None else start / 1e6
        return earlier if first_sec - earlier > _ALIGNED_SEC else first_sec

    @property
    def promised_sec(self) -> float | None:
        """Length of the video stream by the header; None where it does not say so of this stream."""
        stream = self._stream
        if stream.duration is not None:
            return float(stream.duration * stream.time_base)
        written = re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", ""))
        if written is not None:
            hours, minutes, seconds = written.groups()
            return 3600.0 * int(hours) + 60.0 * int(minutes) + float(seconds)
        alone = len(self._container.streams) == 1 and self._container.duration is not None
        return self._container.duration / 1e6 if alone else None


@contextmanager
def open_video(
    source: Path | IO[bytes], *, name: str = "the stream", threads: int = 0, decoder: DecoderName = "pyav"
) -> Iterator[VideoFile]:
    """Open a video file, or a stream of bytes that is read once, from its beginning on.

    Args:
        source: The file, or an opened pipe.
        name: What messages call a pipe; a file is called by its path.
        threads: Of the decoder; 0 leaves it to the decoder.
        decoder: "pyav", or "torchcodec", which decodes files in containers with an index; PyAV opens and checks these
            all the same, and decodes all others.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When it is no regular file.
        VideoError: When it is no video, has no video stream or no frame rate, or its frames are too large.
        ImportError: Without PyAV, or without the decoder that is asked for.
    """
    if isinstance(source, Path):
        require_file(source)
    if decoder == "torchcodec":
        require_torchcodec()
    av = _pyav()
    where = str(source) if isinstance(source, Path) else name
    try:
        container = av.open(
            f"file:{source}" if isinstance(source, Path) else source,
            container_options={"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"},
        )
    except av.FFmpegError as error:
        raise VideoError(where, _unreadable(source, error)) from None
    with container:
        streams = [each for each in container.streams.video if _kind(each) == "video"]
        if not streams:
            kinds = ", ".join(sorted({_kind(each) for each in container.streams})) or "nothing"
            raise VideoError(where, f"has no video stream, only {kinds}")
        stream = streams[0]
        pixels = stream.codec_context.width * stream.codec_context.height
        if pixels > MAX_PIXELS:
            raise VideoError(
                where, f"frames of {stream.codec_context.width} x {stream.codec_context.height} pixels are too large"
            )
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        by_torchcodec = None
        indexed = not CONTAINERS.isdisjoint(container.format.name.split(","))
        if decoder == "torchcodec" and isinstance(source, Path) and indexed:
            by_torchcodec = partial(decoded, source, stream.index, threads)
        yield VideoFile(where, _rate(stream, where), container, stream, by_torchcodec)


def _pyav() -> Any:
    try:
        import av
    except ImportError:
        raise ImportError("reading videos needs PyAV: pip install 'asl-fast[video]'") from None
    av.logging.set_level(None)
    return av


def _rate(stream: Any, where: str) -> float:
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and _USABLE_RATES[0] <= rate <= _USABLE_RATES[1]:
            return float(rate)
    raise VideoError(where, "its header has no frame rate")


def _kind(stream: Any) -> str:
    """Return what a stream holds; a cover picture is a video stream of one frame, too."""
    return "a picture" if int(stream.disposition) & _ATTACHED_PICTURE else str(stream.type)


def _unreadable(source: Path | IO[bytes], error: Any) -> str:
    if isinstance(source, Path) and source.stat().st_size == 0:
        return "is empty"
    # What FFmpeg knows but is not among the containers that are read comes as an invalid argument.
    why = "another kind of file" if error.errno == errno.EINVAL else _words(error)
    return f"is no video that can be read, or damaged at its beginning or end ({why})"


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _seen(frame: Any) -> Image:
    """Return a frame's picture as it is to be seen."""
    image: Image = frame.to_ndarray(format="rgb24")
    # Whole quarter turns, counter-clockwise; FFmpeg's decoders leave them to the player.
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image
