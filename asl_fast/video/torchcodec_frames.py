# SPDX-License-Identifier: Apache-2.0
"""Frames of a video file decoded with torchcodec (FFmpeg), in place of PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

CONTAINERS = frozenset({"mov", "mp4", "matroska", "webm", "avi"})
"""Containers with an index. In others, as of MPEG transport streams, its search for the first frame can miss frames."""


class Decoded(NamedTuple):
    """One frame as its file has it: time stamp and duration in seconds, and (height, width, 3) red, green, blue."""

    own_sec: float
    duration_sec: float
    image: NDArray[np.uint8]


class TorchcodecError(ValueError):
    """What torchcodec could not decode."""


def require_torchcodec() -> Any:
    """Import the class that decodes.

    Raises:
        ImportError: Where torchcodec is not installed, or does not load: it needs shared libraries of FFmpeg, and to be
            of the release and build of torch.
    """
    try:
        from torchcodec.decoders import VideoDecoder
    except (ImportError, OSError, RuntimeError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)[:160]
        raise ImportError(
            f"--decoder torchcodec: torchcodec does not load here ({first}); it needs shared libraries of FFmpeg "
            "and the release that fits the installed torch. --decoder pyav needs neither"
        ) from None
    return VideoDecoder


def decoded(path: Path, stream: int, threads: int) -> Iterator[Decoded]:
    """Decode the frames in the order in which they are seen.

    Args:
        path: A file that was found to be one of ``CONTAINERS``.
        stream: Index of the video stream among all streams.
        threads: Of the decoder; 0 leaves it to the decoder.

    Raises:
        TorchcodecError: For damage, after the frames before it.
    """
    decoder_class = require_torchcodec()
    try:
        decoder = decoder_class(str(path), stream_index=stream, dimension_order="NHWC", num_ffmpeg_threads=threads)
        for number in range(len(decoder)):
            frame = decoder.get_frame_at(number)
            yield Decoded(float(frame.pts_seconds), float(frame.duration_seconds), frame.data.numpy())
    except (RuntimeError, ValueError, IndexError) as error:
        text = " ".join(str(error).split())
        raise TorchcodecError(text.rpartition("cpp:")[2].partition(", ")[2] or text) from None
