# SPDX-License-Identifier: Apache-2.0
"""The backbone that needs no weights: colours, and how they change, on a coarse grid.

A frame is averaged over 24 x 32 areas. Of a window it tells, with Y the brightness, 0 to 1:

- the mean colour of each of 6 x 8 cells of 4 x 4 areas (144 numbers);
- for either half of the window and each cell, how much changes from frame to frame, mean |Y_t|, and where to: the mean
  of -Y_t Y_x and -Y_t Y_y over the mean of Y_x^2 + Y_y^2, the flow along the gradient (Horn and Schunck, "Determining
  Optical Flow", 1981, equation of brightness constancy, in its least-squares form by cell) (288 numbers);
- mean and standard deviation of each colour over all (6 numbers).

Small things show in a square root, so that |Y_t| and the flow are given by theirs, with their sign. It is meant for
trying things out: a learned backbone knows objects and actions, this one colours and movement.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.features.extraction import Extraction
from asl_fast.video.decode import Image

_ROWS, _COLUMNS, _CELL = 24, 32, 4
_CELLS = (_ROWS // _CELL) * (_COLUMNS // _CELL)
_BRIGHTNESS = np.array([0.299, 0.587, 0.114], np.float32)
_FLAT = 1e-3
_HALVES = 2
_VERSION = "1"

Array = NDArray[np.float32]


class MotionBackbone:
    """Colour and movement on a coarse grid; see the module."""

    dim = 3 * _CELLS + _HALVES * 3 * _CELLS + 6
    extraction = Extraction(
        "motion",
        hashlib.sha256(f"motion {_VERSION}".encode()).hexdigest(),
        f"averaged over {_ROWS} x {_COLUMNS} areas",
    )

    def prepare(self, image: Image) -> Array:
        """Average a frame of any size over 24 x 32 areas: (24, 32, 3), 0 to 1."""
        height, width = image.shape[:2]
        rows, columns = (np.arange(n) * size // n for n, size in ((_ROWS, height), (_COLUMNS, width)))
        # Whole numbers, whose sums have no order.
        sums = np.add.reduceat(np.add.reduceat(image, rows, axis=0, dtype=np.uint32), columns, axis=1, dtype=np.uint32)
        areas = _sizes(rows, height)[:, None] * _sizes(columns, width)
        prepared: Array = (sums / (255.0 * areas[..., None])).astype(np.float32)
        return prepared

    def features(self, windows: Array) -> Array:
        """Compute the vectors (B, 438) of windows (B, frames, 24, 32, 3)."""
        return np.stack([self._of_window(window) for window in windows])

    def _of_window(self, frames: Array) -> Array:
        brightness: Array = frames @ _BRIGHTNESS
        parts = [_by_cell(frames.mean(axis=0)).ravel()]
        changes: Array = np.diff(brightness, axis=0)
        between = (brightness[1:] + brightness[:-1]) * np.float32(0.5)
        for half in range(_HALVES):
            chosen = slice(half * len(changes) // _HALVES, (half + 1) * len(changes) // _HALVES)
            parts.append(_movement(changes[chosen], between[chosen]).ravel())
        pixels = frames.reshape(-1, 3)
        parts += [pixels.mean(axis=0), pixels.std(axis=0)]
        return np.concatenate(parts).astype(np.float32)


def _movement(changes: Array, brightness: Array) -> Array:
    """Describe (cells, 3) of (T, rows, columns): how much changes, and the flow to the right and down."""
    if not len(changes):  # a window of one frame, or the first half of one of two
        return np.zeros((_CELLS, 3), np.float32)
    down, right = np.gradient(brightness, axis=(1, 2))
    steepness = _by_cell((right**2 + down**2).mean(axis=0)[..., None]) + np.float32(_FLAT)
    flow = _by_cell(np.stack([(-changes * slope).mean(axis=0) for slope in (right, down)], axis=-1)) / steepness
    found = np.concatenate([_by_cell(np.abs(changes).mean(axis=0)[..., None]), flow], axis=-1)
    rooted: Array = np.sign(found) * np.sqrt(np.abs(found))
    return rooted


def _by_cell(areas: Array) -> Array:
    """Average (24, 32, C) over cells: (48, C)."""
    channels = areas.shape[-1]
    split = areas.reshape(_ROWS // _CELL, _CELL, _COLUMNS // _CELL, _CELL, channels)
    found: Array = split.mean(axis=(1, 3), dtype=np.float32).reshape(_CELLS, channels)
    return found


def _sizes(starts: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    # Of a frame smaller than the grid, an area without a pixel of its own is the pixel at its beginning.
    return np.maximum(np.diff(np.append(starts, size)), 1)
