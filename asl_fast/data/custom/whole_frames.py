# SPDX-License-Identifier: Apache-2.0
"""Stride and window of an extractor as whole numbers of frames, from the lengths that it left behind.

``floor((frames - window) / stride) + 1`` vectors of a video leave ``window`` no other choice than the whole numbers in
``(frames - stride * steps, frames - stride * (steps - 1)]``, for each stride. Few videos leave several pairs; most
videos together leave one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Pair = tuple[int, int]

LONGEST_WINDOW_STRIDES = 16
MIN_VIDEOS = 6
"""Fewer videos are explained by nearly any pair."""
MIN_SHARE = 0.8
"""Where no pair explains every video, the one that explains most must explain this share: the others are other cuts."""
_LARGEST_STRIDE = 512
_ROUNDING = 0.05


@dataclass(frozen=True)
class WholeFrames:
    """What explains the lengths.

    Attributes:
        stride_frame, window_frame: The pair; of several that explain as many videos, the most usual one.
        explained: Videos whose length is exactly what the pair gives.
        others: Pairs that explain as many.
    """

    stride_frame: int
    window_frame: int
    explained: int
    others: tuple[Pair, ...]


def whole_frames(frames: Array, steps: Array) -> WholeFrames | None:
    """Find the pair of whole numbers that explains all lengths, or nearly all; None where there is none.

    Args:
        frames: (V,) lengths of the videos; what rounding of durations leaves is taken off.
        steps: (V,) numbers of feature vectors.
    """
    if len(steps) < MIN_VIDEOS:
        return None
    best, pairs = int(np.ceil(MIN_SHARE * len(steps))) - 1, set[Pair]()
    # Durations are lengths in whole frames, rounded; or run on past the last frame that was read.
    for whole in (np.floor(frames + _ROUNDING), np.round(frames)):
        for explained, pair in _explained(whole, steps, best):
            if explained > best:
                best, pairs = explained, set()
            pairs.add(pair)
    if not pairs:
        return None
    first, *others = sorted(pairs, key=_unusual)
    return WholeFrames(*first, best, tuple(sorted(others)))


def _explained(frames: Array, steps: Array, best: int) -> Iterator[tuple[int, Pair]]:
    """Pairs that explain at least as many videos as the best before, more than ``best``, with that number."""
    largest = min(_LARGEST_STRIDE, int(np.median(frames / steps)) + 1)
    for stride in range(1, largest + 1):
        limit = LONGEST_WINDOW_STRIDES * stride
        low = np.clip(frames - stride * steps + 1, stride, limit + 1).astype(np.int64)
        # A single vector says nothing about the longest window: some extractors pad a short video to one.
        high = np.where(steps > 1, np.clip(frames - stride * (steps - 1), 0, limit), limit).astype(np.int64)
        fits = low <= high
        if fits.sum() <= best:
            continue
        change = np.bincount(low[fits], minlength=limit + 2) - np.bincount(high[fits] + 1, minlength=limit + 2)
        number = np.cumsum(change)
        most = int(number.max())
        if most > best:
            best = most - 1
            yield from ((most, (stride, int(window))) for window in np.flatnonzero(number == most))


def _unusual(pair: Pair) -> tuple[bool, bool, bool, int, int]:
    """Order pairs: extractors mostly take windows of whole strides, and powers of two."""
    stride, window = pair
    return window % stride != 0, not _power_of_two(stride), not _power_of_two(window), window, stride


def _power_of_two(number: int) -> bool:
    return number & (number - 1) == 0
