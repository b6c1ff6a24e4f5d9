# SPDX-License-Identifier: Apache-2.0
"""Candidates in a sequence of any length: the detector looks at one window of it after the other.

What the detector says at a point depends on the input within its receptive field alone. A window is therefore a core,
whose points are taken, and as many steps more at either side as an output can depend on: every point gets what it would
get if the whole sequence were looked at in one pass, in memory that does not grow with its length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from asl_fast.models.config import InferenceConfig
from asl_fast.models.detector import ActionDetector, DetectorOutput
from asl_fast.models.positions import Place
from asl_fast.models.postprocess import Detections, joined, level_candidates
from asl_fast.models.receptive_field import Reach, receptive_field

CORE_GRID = 8192  # steps of a core: some hundred MB of activations at ActionFormer's width


class Window(NamedTuple):
    """Steps ``[start, stop)`` of a sequence, of which the points in ``[core_start, core_stop)`` are taken."""

    start: int
    stop: int
    core_start: int
    core_stop: int


class UnboundedReachError(ValueError):
    """The detector attends to whole sequences, so that it cannot work in windows."""


def is_long(detector: ActionDetector, num_steps: int) -> bool:
    """Tell whether a sequence is looked at in windows: where that is possible and needs less memory than one pass."""
    reach = receptive_field(detector.config)
    return reach is not None and num_steps > CORE_GRID + reach.left_grid + reach.right_grid


def windows(num_steps: int, reach: Reach, *, multiple: int, core_grid: int | None = None) -> Iterator[Window]:
    """Cut a sequence into windows.

    Args:
        num_steps: Its length in grid steps.
        reach: What an output depends on.
        multiple: Windows begin at multiples of this, and end there or at the end of the sequence, so that every level
            has its points where it has them in one pass.
        core_grid: Steps of a core, rounded up to the multiple; None takes ``CORE_GRID``.
    """
    core = _rounded_up(CORE_GRID if core_grid is None else core_grid, multiple)
    before, after = _rounded_up(reach.left_grid, multiple), _rounded_up(reach.right_grid, multiple)
    for first in range(0, num_steps, core):
        last = min(first + core, num_steps)
        yield Window(max(0, first - before), min(last + after, num_steps), first, last)


def windows_of(detector: ActionDetector, num_steps: int, *, core_grid: int | None = None) -> Iterator[Window]:
    """Cut a sequence into the windows that a detector needs.

    Raises:
        UnboundedReachError: When the detector has a level of full attention.
    """
    reach = receptive_field(detector.config)
    if reach is None:
        raise UnboundedReachError("this detector has a level of full attention: it looks at a recording as a whole")
    return windows(num_steps, reach, multiple=detector.length_multiple, core_grid=core_grid)


@torch.inference_mode()
def windowed_candidates(
    detector: ActionDetector,
    read: Callable[[int, int], Tensor],
    num_steps: int,
    config: InferenceConfig,
    *,
    autocast: bool = False,
    core_grid: int | None = None,
    padded_steps: int | None = None,
    check: Callable[[DetectorOutput, Tensor], None] | None = None,
    each: Callable[[Iterator[Window]], Iterator[Window]] = iter,
) -> list[Detections]:
    """Find the candidates of one sequence, in grid steps, by falling score within a level, as one pass would.

    Args:
        detector: In evaluation mode.
        read: Gives the features (stop - start, feature_dim) of steps ``[start, stop)``, on any device.
        num_steps: Length of the sequence.
        config: Thresholds; ``candidates_per_level`` are kept of the whole sequence.
        autocast: Run the detector in bfloat16.
        core_grid: Steps of a window whose points are taken; None takes ``CORE_GRID``.
        padded_steps: Length that the sequence would be padded to in one pass, on which ActionFormer's outputs depend;
            None takes the next that the detector has levels for.
        check: Called with the output and the features (1, T, feature_dim) of each window; raises where it does not
            like them.
        each: Passes the windows on, e.g. with a progress bar.

    Returns:
        Candidates of each level; the segments are float64, as float32 does not hold grid steps of long sequences
        exactly.

    Raises:
        UnboundedReachError: When the detector has a level of full attention.
    """
    kept: list[Detections] = []
    for window in each(windows_of(detector, num_steps, core_grid=core_grid)):
        features = read(window.start, window.stop)
        found = window_candidates(
            detector, features, window, num_steps, config, autocast=autocast, padded_steps=padded_steps, check=check
        )
        kept = [_best([a, b], config) for a, b in zip(kept, found, strict=True)] if kept else found
    return kept


@torch.inference_mode()
def window_candidates(
    detector: ActionDetector,
    features: Tensor,
    window: Window,
    num_steps: int,
    config: InferenceConfig,
    *,
    autocast: bool = False,
    padded_steps: int | None = None,
    check: Callable[[DetectorOutput, Tensor], None] | None = None,
) -> list[Detections]:
    """Find the candidates of a window's core, level by level, in grid steps of the whole sequence.

    Args:
        detector: In evaluation mode.
        features: (window.stop - window.start, feature_dim), on any device.
        window: Which part of the sequence they are.
        num_steps: Length of the sequence, which matters for absolute positions alone.
        config: Thresholds.
        autocast: As of `windowed_candidates`, like the others.
        padded_steps: See there.
        check: See there.
    """
    device = next(detector.parameters()).device
    batch = features.to(device).unsqueeze(0)
    mask = torch.ones(batch.shape[:2], dtype=torch.bool, device=device)
    padded = _rounded_up(num_steps, detector.length_multiple) if padded_steps is None else padded_steps
    if window.stop == num_steps:
        batch, mask = F.pad(batch, (0, 0, 0, padded - num_steps)), F.pad(mask, (0, padded - num_steps))
    with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
        output = detector(batch, mask, Place(window.start, num_steps, padded))
    if check is not None:
        check(output, batch)
    return [_core_candidates(output, level, window, config) for level in range(len(output.logits))]


def _core_candidates(output: DetectorOutput, level: int, window: Window, config: InferenceConfig) -> Detections:
    """Find the candidates of a window's core on one level, in grid steps of the whole sequence."""
    points = output.points[level]
    stride = int(points[0, 3])
    first, last = ((step - window.start + stride - 1) // stride for step in (window.core_start, window.core_stop))
    core = slice(first, last)
    (found,) = level_candidates(
        output.logits[level][:, core],
        output.offsets[level][:, core],
        output.masks[level][:, core],
        points[core],
        config,
    )
    return Detections(found.segments.double() + window.start, found.scores, found.labels)


def _best(parts: list[Detections], config: InferenceConfig) -> Detections:
    """Keep the best of a level; the earlier one where two score the same."""
    both = joined(parts)
    order = both.scores.sort(descending=True, stable=True).indices[: config.candidates_per_level]
    return Detections(both.segments[order], both.scores[order], both.labels[order])


def _rounded_up(steps: int, multiple: int) -> int:
    return -(-steps // multiple) * multiple
