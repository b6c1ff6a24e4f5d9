# SPDX-License-Identifier: Apache-2.0
"""A network on windows of frames, in groups of one size, so that no vector depends on what is computed with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asl_fast.data.features.extraction import Extraction
from asl_fast.video.decode import Image
from asl_fast.video.pictures import Pictures, spread

GPU_GROUP = 8
"""Windows that a GPU computes at once. A CPU takes one: a window of a network has enough work for all of its cores."""


class NetworkBackbone:
    """Frames of each window, prepared for a network, and what it makes of them.

    Sums are rounded otherwise in batches of another size, so every call has one size, the last filled up with copies.

    Args:
        network: Makes (B, dim) of (B, frames, 3, height, width).
        pictures: How frames are prepared.
        num_frames: Frames of a window that the network takes, spread evenly over it.
        window: Frames in a window.
        extraction: What decides the numbers.
        device: Where the network lies.
        group: Windows at once; None takes one on a CPU, ``GPU_GROUP`` on a GPU.

    Raises:
        ValueError: When the network takes more frames than a window has, or does not take the frames that it should.
    """

    def __init__(
        self,
        network: Callable[[Tensor], Tensor],
        pictures: Pictures,
        num_frames: int,
        window: int,
        extraction: Extraction,
        device: torch.device,
        group: int | None = None,
    ) -> None:
        if num_frames > window:
            raise ValueError(
                f"{extraction.weights} takes {num_frames} frames, more than a window of {window}: give --window "
                f"{num_frames} or more"
            )
        self._network = network
        self._pictures = pictures
        self._num_frames = num_frames
        self._device = device
        self._group = group or (GPU_GROUP if device.type == "cuda" else 1)
        self.extraction = extraction
        # Whatever it is made of, a network says by its result how wide it is; and here whether it works at all.
        try:
            self.dim = self.features(np.zeros((1, num_frames, *pictures.crop, 3), np.uint8)).shape[1]
        except Exception as error:  # a network may fail in any way
            height, width = pictures.crop
            raise ValueError(
                f"{extraction.weights} does not compute {num_frames} frames of {height} x {width} pixels "
                f"({first_line(error)})"
            ) from None

    def prepare(self, image: Image) -> Image:
        """Scale and cut a frame."""
        return self._pictures.prepare(image)

    @torch.inference_mode()
    def features(self, windows: NDArray[Any]) -> NDArray[np.float32]:
        """Compute the vectors (B, dim) of windows (B, frames, height, width, 3)."""
        chosen = windows[:, spread(self._num_frames, windows.shape[1])]
        found = []
        autocast = torch.autocast(self._device.type, torch.bfloat16, enabled=self.extraction.precision == "bf16")
        for start in range(0, len(chosen), self._group):
            part = chosen[start : start + self._group]
            filled = np.concatenate([part, np.repeat(part[-1:], self._group - len(part), axis=0)])
            with autocast:
                vectors = self._network(self._pictures.colours(filled, self._device))
            if vectors.shape[:1] != (self._group,) or vectors.ndim != 2:
                raise ValueError(
                    f"backbone {self.extraction.backbone} gives {tuple(vectors.shape)} of {self._group} windows; "
                    f"expected ({self._group}, channels)"
                )
            found.append(vectors[: len(part)].float().cpu().numpy())
        return np.concatenate(found)


def vector_per_item(output: Tensor) -> Tensor:
    """Reduce what a network gives, (B, D) or (B, tokens, D), to (B, D) by averaging over tokens."""
    return output.mean(dim=1) if output.ndim == 3 else output


def first_line(error: Exception) -> str:
    """Return what an error of another library says first, of which there may be pages."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
