# SPDX-License-Identifier: Apache-2.0
"""What makes a feature vector of a window of frames."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.features.extraction import Extraction
from asl_fast.video.decode import Image


class Backbone(Protocol):
    """Frames in, feature vectors out.

    What it gives of a window depends on that window alone, to the bit: not on which others it is computed with.
    """

    @property
    def dim(self) -> int:
        """Width of a feature vector."""
        ...

    @property
    def extraction(self) -> Extraction:
        """What decides its numbers, for the manifest."""
        ...

    def prepare(self, image: Image) -> NDArray[Any]:
        """Make of a frame what is kept of it: a small array, of one shape and dtype for all frames."""
        ...

    def features(self, windows: NDArray[Any]) -> NDArray[np.float32]:
        """Compute the vectors (B, dim) of windows (B, frames, ...) of prepared frames."""
        ...
