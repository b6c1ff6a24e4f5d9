# SPDX-License-Identifier: Apache-2.0
"""Windows of frames: the first ``window`` frames, and again after each further ``stride``."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def count_windows(num_frames: int, window: int, stride: int) -> int:
    """Count the windows of a video: ``floor((N - window) / stride) + 1``, none where it is shorter than a window."""
    return max(0, (num_frames - window) // stride + 1)


def windows(frames: Iterable[T], window: int, stride: int) -> Iterator[tuple[T, ...]]:
    """Cut frames into windows ``[i * stride, i * stride + window)``, holding one window of them at a time.

    Args:
        frames: Of one video.
        window: Frames in a window.
        stride: Frames from the beginning of one to that of the next; may exceed the window.
    """
    held: deque[T] = deque(maxlen=window)
    for number, frame in enumerate(frames, 1):
        held.append(frame)
        if number >= window and (number - window) % stride == 0:
            yield tuple(held)
