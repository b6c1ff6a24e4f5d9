# SPDX-License-Identifier: Apache-2.0
"""Whether a written file computes what the detector does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from asl_fast.exporting.deployed import INPUTS, LONG_CHUNK, DeployedDetector, example_inputs
from asl_fast.exporting.formats import Runner
from asl_fast.models.config import DetectorConfig

LENGTHS = (64, 193, 1000, 2304, 65536)
BATCHES = (1, 3)
TOLERANCE = 1e-4
MEMORY = 6 * 2**30  # bytes that the detector may take while it is checked, by an estimate that is on the safe side


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
    """Run a written file at every length and batch size beside the detector itself; see :func:`fitting`."""
    batches = tuple(batches)
    most = max(batches)
    for length in dict.fromkeys(fitting(deployed.detector.config, length, most) for length in lengths):
        for batch in batches:
            inputs = example_inputs(deployed, batch, length, seed=length + batch)
            yield _deviation(run(inputs), deployed, inputs, batch, length)


def fitting(config: DetectorConfig, length: int, batch: int) -> int:
    """Halve a length until a batch of it needs no more than ``MEMORY``."""
    while length > 1 and bytes_needed(config, batch, length) > MEMORY:
        length //= 2
    return length


def bytes_needed(config: DetectorConfig, batch: int, length: int) -> int:
    """Estimate what a graph of the detector holds at once, which is most at full resolution."""
    window = config.windows[0]
    keys = length if window == 0 else window + 2 * LONG_CHUNK
    attention = 0 if config.backbone == "conv" else 4 * config.num_heads * keys + 8 * config.width
    numbers = 4 * config.feature_dim + (8 + 2 * config.mlp_ratio) * config.width + 4 * config.num_classes + attention
    return int(4 * numbers * batch * length)


def _deviation(
    found: tuple[Tensor, Tensor], deployed: DeployedDetector, inputs: tuple[Tensor, ...], batch: int, length: int
) -> Deviation:
    with torch.no_grad():
        segments, scores = deployed(*inputs)
    step_sec = inputs[INPUTS.index("step_sec")]
    length_grid = (segments[..., 1:] - segments[..., :1]) / step_sec[:, None, None]
    apart = (found[0] - segments).abs() / step_sec[:, None, None] / (1 + length_grid)
    return Deviation(batch, length, float((found[1] - scores).abs().max()), float(apart.max()))
