# SPDX-License-Identifier: Apache-2.0
"""Sizes and tensors that the examples of several ops are made of."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

VIDEOS, POINTS, CLASSES, INSTANCES = 2, 96, 7, 9
# Ties broken, ranges left open and NaN in the padding are for the tests of each op.


class Size(NamedTuple):
    """Of the calls that are compiled ahead of time."""

    dtype: torch.dtype
    rows: int
    classes: int
    videos: int = 2
    instances: int = 40
    channels: int = 512

    @property
    def video_offsets(self) -> Tensor:
        """(videos + 1,): all instances in the first video."""
        return torch.tensor([0, *[self.instances] * self.videos])

    @property
    def name(self) -> str:
        """As it ends the name of a call."""
        return ("one-" if self.rows == 1 else "") + str(self.dtype).removeprefix("torch.")


class Call(NamedTuple):
    """One call that is compiled ahead of time; the values of its tensors do not matter."""

    name: str
    op: str
    operands: Any


def segments(generator: torch.Generator, count: int, longest: float = 40.0) -> Tensor:
    start = torch.rand(count, generator=generator) * (POINTS - longest)
    return torch.stack((start, start + 2 + torch.rand(count, generator=generator) * (longest - 2)), -1)


def points() -> Tensor:
    """(P, 4): time, regression range, stride of two pyramid levels."""
    levels = []
    for stride, low, high in ((1.0, 0.0, 16.0), (2.0, 8.0, 1e4)):
        time = torch.arange(0, POINTS, stride)
        levels.append(torch.stack((time, *(torch.full_like(time, value) for value in (low, high, stride))), -1))
    return torch.cat(levels)
