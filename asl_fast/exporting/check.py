# SPDX-License-Identifier: Apache-2.0
"""Whether a written file computes what the detector does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from asl_fast.exporting.deployed import INPUTS, DeployedDetector, example_inputs
from asl_fast.exporting.formats import Runner

LENGTHS = (64, 193, 1000, 2304, 4096)
BATCHES = (1, 3)
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Deviation:
    """How far a file is from the detector on one batch.

    Attributes:
        batch: Recordings.
        length: Rows of the longest.
        score: Largest difference of a score.
        boundary: Largest difference of a boundary, in grid steps, over 1 plus the length of its segment: single
            precision keeps so many digits of a length, no more.
    """

    batch: int
    length: int
    score: float
    boundary: float

    @property
    def is_small(self) -> bool:
        """Whether both stay below ``TOLERANCE``; NaN does not."""
        return self.score <= TOLERANCE and self.boundary <= TOLERANCE


def deviations(
    run: Runner, deployed: DeployedDetector, *, lengths: Iterable[int] = LENGTHS, batches: Iterable[int] = BATCHES
) -> Iterator[Deviation]:
    """Run a written file at every length and batch size beside the detector itself."""
    batches = tuple(batches)
    for length in lengths:
        for batch in batches:
            inputs = example_inputs(deployed, batch, length, seed=length + batch)
            yield _deviation(run(inputs), deployed, inputs, batch, length)


def _deviation(
    found: tuple[Tensor, Tensor], deployed: DeployedDetector, inputs: tuple[Tensor, ...], batch: int, length: int
) -> Deviation:
    with torch.no_grad():
        segments, scores = deployed(*inputs)
    step_sec = inputs[INPUTS.index("step_sec")]
    length_grid = (segments[..., 1:] - segments[..., :1]) / step_sec[:, None, None]
    apart = (found[0] - segments).abs() / step_sec[:, None, None] / (1 + length_grid)
    return Deviation(batch, length, float((found[1] - scores).abs().max()), float(apart.max()))
