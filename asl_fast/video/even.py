# SPDX-License-Identifier: Apache-2.0
"""Frames at an even rate, from frames at any times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from asl_fast.video.decode import Frame, Image, VideoError

_HAIR_SEC = 1e-6


def evenly(frames: Iterable[Frame], fps: float) -> Iterator[Image]:
    """Show a video at an even rate: frame k is what is on screen at ``(k + 0.5) / fps`` seconds.

    Frames at an even rate come out as they are, one for one, whatever the container rounds their times to. Where a
    frame stays on screen longer it comes several times, where one is gone too soon it does not come.

    Args:
        frames: By rising time; before the first there is that one.
        fps: Frames per second of the result.

    Raises:
        VideoError: As ``frames``, after all that was on screen before.
    """
    shown: Frame | None = None
    number = 0
    frames = iter(frames)
    while True:
        damage = None
        try:
            following = next(frames, None)
        except VideoError as error:
            following, damage = None, error
        if shown is not None:
            until_sec = shown.end_sec if following is None else following.start_sec
            # A hair later, so that a frame that ends in the middle of another is on one side whatever the rounding.
            while (number + 0.5) / fps < until_sec - _HAIR_SEC:
                yield shown.image
                number += 1
        if damage is not None:
            raise damage
        if following is None:
            # A video is never without a frame, however short.
            if shown is not None and number == 0:
                yield shown.image
            return
        shown = following
