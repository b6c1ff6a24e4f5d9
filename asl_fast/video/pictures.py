# SPDX-License-Identifier: Apache-2.0
"""What networks want of a frame: its size, and how its colours are scaled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from asl_fast.files import number
from asl_fast.video.decode import Image

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_SD = (0.229, 0.224, 0.225)
_LARGEST = 4096


@dataclass(frozen=True)
class Pictures:
    """How frames are prepared: they are scaled to ``size``, and their middle is cut out.

    Args:
        size: Pixels of the shorter side after scaling, or height and width, to which frames are brought out of
            proportion.
        crop: Height and width of the middle that is cut out; no larger than what is scaled.
        mean: Of red, green and blue, 0 to 1, which is subtracted.
        sd: What they are divided by.
        mode: Interpolation, ``"bilinear"`` or ``"bicubic"``, with antialiasing.

    Raises:
        ValueError: For a size or a number that cannot be.
    """

    size: int | tuple[int, int]
    crop: tuple[int, int]
    mean: tuple[float, ...] = IMAGENET_MEAN
    sd: tuple[float, ...] = IMAGENET_SD
    mode: str = "bilinear"

    def __post_init__(self) -> None:
        scaled = (self.size, self.size) if isinstance(self.size, int) else self.size
        if not all(1 <= cut <= side <= _LARGEST for cut, side in zip(self.crop, scaled, strict=True)):
            raise ValueError(
                f"frames are scaled to {self._scaled} pixels and cut to {self.crop[0]} x {self.crop[1]}: expected a "
                f"cut of 1 pixel or more, no larger than the frame, and no frame larger than {_LARGEST}"
            )
        if len(self.mean) != 3 or len(self.sd) != 3 or not min(self.sd) > 0:
            raise ValueError(f"mean {self.mean} and std {self.sd} must be three numbers each, std above 0")
        if self.mode not in ("bilinear", "bicubic"):
            raise ValueError(f"interpolation must be bilinear or bicubic, found {self.mode!r}")

    @property
    def _scaled(self) -> str:
        return str(self.size) if isinstance(self.size, int) else " x ".join(map(str, self.size))

    @property
    def words(self) -> str:
        """All of it on one line, by which preparations are compared."""
        mean, sd = (" ".join(f"{value:g}" for value in values) for values in (self.mean, self.sd))
        which = "shorter side" if isinstance(self.size, int) else "frame"
        return f"{which} {self._scaled} {self.mode}, middle {self.crop[0]} x {self.crop[1]}, mean {mean}, std {sd}"

    def prepare(self, image: Image) -> Image:
        """Scale and cut a frame: (height, width, 3) of any size to (*crop, 3)."""
        height, width = image.shape[:2]
        size = self.size
        if isinstance(size, int):
            shorter = min(height, width)
            size = (max(size, round(height * size / shorter)), max(size, round(width * size / shorter)))
        frame = torch.from_numpy(image).permute(2, 0, 1)[None].float()
        scaled = functional.interpolate(frame, size=size, mode=self.mode, antialias=True, align_corners=False)
        top, left = ((side - cut) // 2 for side, cut in zip(size, self.crop, strict=True))
        cut = scaled[0, :, top : top + self.crop[0], left : left + self.crop[1]]
        return np.ascontiguousarray(cut.round().clamp(0, 255).byte().permute(1, 2, 0).numpy())

    def colours(self, frames: NDArray[np.uint8], device: torch.device) -> Tensor:
        """Scale the colours of prepared frames (..., height, width, 3): float32 (..., 3, height, width)."""
        values = torch.from_numpy(frames).to(device).float().movedim(-1, -3) / 255
        mean, sd = (torch.tensor(each, device=device)[:, None, None] for each in (self.mean, self.sd))
        return (values - mean) / sd


def read_pictures(content: object, where: str, default: Pictures) -> Pictures:
    """Read ``{"size": 256, "crop": 224, "mean": [...], "std": [...], "mode": "bicubic"}``.

    Args:
        content: Values of a JSON file; what it does not say is as in ``default``, and ``crop`` as ``size``.
        where: Their file, for messages.
        default: What holds otherwise.

    Raises:
        ValueError: Beginning with ``where``.
    """
    known = {"size", "crop", "mean", "std", "mode"}
    if not isinstance(content, Mapping) or (unknown := content.keys() - known):
        found = repr(content)[:80] if not isinstance(content, Mapping) else f"unknown key {min(unknown)!r}"
        raise ValueError(f"{where}: expected size, crop, mean, std and mode, found {found}")
    try:
        size = _size(content.get("size", default.size), "size")
        usual_crop = default.crop if "size" not in content else _both(size)
        return Pictures(
            size,
            _both(_size(content.get("crop", usual_crop), "crop")),
            _three(content.get("mean", default.mean), "mean"),
            _three(content.get("std", default.sd), "std"),
            str(content.get("mode", default.mode)),
        )
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {error}") from None


def _size(value: Any, what: str) -> int | tuple[int, int]:
    if not isinstance(value, (list, tuple)):
        return int(number(value, what))
    height, width = value
    return int(number(height, what)), int(number(width, what))


def _both(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _three(values: Any, what: str) -> tuple[float, ...]:
    return tuple(number(value, what) for value in values)


def spread(num_frames: int, window: int) -> list[int]:
    """Choose ``num_frames`` of a window, spread evenly: the middle of each equal share."""
    return [int((2 * k + 1) * window / (2 * num_frames)) for k in range(num_frames)]
