# SPDX-License-Identifier: Apache-2.0
"""A detector on batches of recordings, and on one recording of any length, read piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from asl_fast.data.collate import Batch
from asl_fast.data.dataset import Sample
from asl_fast.data.grid import FeatureGrid
from asl_fast.environment import free_memory_of
from asl_fast.models.config import DetectorConfig, InferenceConfig
from asl_fast.models.detector import ActionDetector, DetectorOutput
from asl_fast.models.postprocess import Detections, candidates, detect
from asl_fast.models.receptive_field import receptive_field
from asl_fast.models.windows import Window, is_long, windowed_candidates


class NonFiniteOutputError(ValueError):
    """The network gives NaN or infinity for a video, which post-processing would drop without a word.

    Args:
        message: Naming the first such video of a batch.
        index: Its number in the batch.
    """

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


@dataclass(frozen=True)
class Recording:
    """A recording whose features need not be in memory together.

    Attributes:
        video_id: Its name.
        num_steps: Feature vectors.
        read: Gives those of steps ``[start, stop)``, (stop - start, feature_dim) float32.
        duration_sec: Its length, to which detections are clipped.
        grid: Turns grid steps into seconds.
    """

    video_id: str
    num_steps: int
    read: Callable[[int, int], Tensor]
    duration_sec: float
    grid: FeatureGrid

    def sample(self) -> Sample:
        """Read all of it into a sample without segments."""
        return Sample(
            video_id=self.video_id,
            features=self.read(0, self.num_steps),
            segments=torch.empty(0, 2),
            labels=torch.empty(0, dtype=torch.int64),
            duration_sec=self.duration_sec,
            grid=self.grid,
        )


@torch.inference_mode()
def detect_batch(
    detector: ActionDetector, batch: Batch, config: InferenceConfig, *, autocast: bool
) -> list[Detections]:
    """Detect in every video of a batch.

    Args:
        detector: In evaluation mode.
        batch: Videos, on any device.
        config: Thresholds.
        autocast: Run the detector in bfloat16.

    Returns:
        Per video its detections in seconds, by falling score, on the CPU.

    Raises:
        NonFiniteOutputError, ValueError: As `find_candidates`.
    """
    found = find_candidates(detector, batch, config, autocast=autocast)
    return detect(found, grids=batch.grids, durations_sec=batch.durations_sec, config=config)


@torch.inference_mode()
def find_candidates(
    detector: ActionDetector, batch: Batch, config: InferenceConfig, *, autocast: bool
) -> list[list[Detections]]:
    """Find the candidates of every video of a batch, level by level; arguments as of `detect_batch`.

    Long videos are looked at window by window.

    Raises:
        NonFiniteOutputError: Naming a video for which the network gives NaN or infinity.
        ValueError: Naming a video that is too long for a detector with full attention.
    """
    if is_long(detector, batch.features.shape[1]):
        return [_row_candidates(detector, batch, row, config, autocast=autocast) for row in range(len(batch))]
    _check_memory(detector, batch)
    output = _run(detector, batch.features, batch.mask, autocast=autocast)
    _check_finite(output, batch.video_ids, batch.features, batch.mask)
    return candidates(output, config)


@torch.inference_mode()
def long_candidates(
    detector: ActionDetector,
    recording: Recording,
    config: InferenceConfig,
    *,
    autocast: bool,
    padded_steps: int | None = None,
    each: Callable[[Iterator[Window]], Iterator[Window]] = iter,
) -> list[Detections]:
    """Find the candidates of one recording, level by level, window by window.

    Args:
        detector: In evaluation mode, without full attention.
        recording: Where to detect.
        config: Thresholds.
        autocast: Run the detector in bfloat16.
        padded_steps: As of `asl_fast.models.windows.windowed_candidates`.
        each: Passes the windows on, e.g. with a progress bar.

    Raises:
        NonFiniteOutputError: Naming the recording, when the network gives NaN or infinity.
        UnboundedReachError: When the detector has a level of full attention.
    """

    def check(output: DetectorOutput, features: Tensor) -> None:
        _check_finite(output, [recording.video_id], features, torch.ones_like(features[..., 0], dtype=torch.bool))

    return windowed_candidates(
        detector,
        recording.read,
        recording.num_steps,
        config,
        autocast=autocast,
        padded_steps=padded_steps,
        check=check,
        each=each,
    )


def _row_candidates(
    detector: ActionDetector, batch: Batch, row: int, config: InferenceConfig, *, autocast: bool
) -> list[Detections]:
    """Find the candidates of one video of a batch of which some are long."""
    features = batch.features[row][batch.mask[row]]
    recording = Recording(
        batch.video_ids[row], len(features), lambda a, b: features[a:b], batch.durations_sec[row], batch.grids[row]
    )
    try:
        return long_candidates(detector, recording, config, autocast=autocast)
    except NonFiniteOutputError as error:
        raise NonFiniteOutputError(str(error), row) from None


def _run(detector: ActionDetector, features: Tensor, mask: Tensor, *, autocast: bool) -> DetectorOutput:
    device = next(detector.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
        output: DetectorOutput = detector(features.to(device), mask.to(device))
    return output


def _check_finite(
    output: DetectorOutput, video_ids: list[str] | tuple[str, ...], features: Tensor, mask: Tensor
) -> None:
    """Raise NonFiniteOutputError where a valid position of a video has a number that is none."""
    finite = [
        ((logits.isfinite().all(-1) & offsets.isfinite().all(-1)) | ~valid).all(-1)
        for logits, offsets, valid in zip(output.logits, output.offsets, output.masks, strict=True)
    ]
    bad = (~torch.stack(finite).all(0)).nonzero().flatten().tolist()
    if bad:
        first = bad[0]
        reach = float(features[first][mask[first]].abs().max())
        raise NonFiniteOutputError(
            f"{video_ids[first]}: the network gives NaN or infinity here; its features reach {reach:.3g}, are "
            "they those the detector was trained on?",
            first,
        )


def one_pass_bytes(config: DetectorConfig, num_steps: int) -> int:
    """Estimate the memory that one pass over a sequence of this many grid steps takes, without its weights.

    Per step, the input in float32, and what the finest blocks hold at once: measured, 20 to 26 vectors of the model's
    width for windowed and full attention alike.
    """
    return 4 * num_steps * (2 * config.feature_dim + 26 * config.width)


def _check_memory(detector: ActionDetector, batch: Batch) -> None:
    """Raise ValueError where a detector with full attention would take more memory than there is."""
    num_videos, num_steps = batch.mask.shape
    if receptive_field(detector.config) is not None:
        return
    needed = num_videos * one_pass_bytes(detector.config, num_steps)
    available = free_memory_of(next(detector.parameters()).device)
    if available is None or needed <= available:
        return
    longest = int(batch.mask.sum(1).argmax())
    raise ValueError(
        f"{batch.video_ids[longest]}: the detector has a level of full attention and looks at all {num_steps} steps at "
        f"once, which needs about {needed / 1e9:.0f} GB of memory, of which {available / 1e9:.0f} GB are free; cut the "
        "recording, use a smaller --batch-size, or train with model.attention_windows above 0, which takes recordings "
        "of any length"
    )
