# SPDX-License-Identifier: Apache-2.0
"""A detector on the videos of a split at full length: those of similar length together, long ones window by window."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from asl_fast.data.collate import collate
from asl_fast.data.dataset import DetectionDataset
from asl_fast.data.grid import FeatureGrid
from asl_fast.models.config import InferenceConfig
from asl_fast.models.detector import ActionDetector
from asl_fast.models.postprocess import Detections
from asl_fast.models.windows import Window, is_long
from asl_fast.training.inference import Recording, find_candidates, long_candidates


class Found(NamedTuple):
    """Candidates in some videos, with what turns them into detections.

    Attributes:
        video_ids: Of the videos.
        levels: Per video its candidates, level by level.
        grids: Per video, what turns grid steps into seconds.
        durations_sec: Per video its length.
    """

    video_ids: tuple[str, ...]
    levels: list[list[Detections]]
    grids: tuple[FeatureGrid, ...]
    durations_sec: tuple[float, ...]


def plan(
    detector: ActionDetector, dataset: DetectionDataset, batch_size: int, *, rank: int = 0, world_size: int = 1
) -> list[list[int]]:
    """Share the videos of a split out, batch by batch; a long one is a batch of its own.

    Args:
        detector: Knows what is long.
        dataset: The split.
        batch_size: Videos per batch.
        rank: Number of this process.
        world_size: Number of processes.
    """
    order: list[int] = np.argsort(dataset.lengths, kind="stable")[rank::world_size].tolist()
    long = [[index] for index in order if is_long(detector, int(dataset.lengths[index]))]
    short = order[: len(order) - len(long)]
    return [short[start : start + batch_size] for start in range(0, len(short), batch_size)] + long


@torch.inference_mode()
def find(
    detector: ActionDetector,
    dataset: DetectionDataset,
    videos: Sequence[int],
    config: InferenceConfig,
    *,
    autocast: bool,
    beat: Callable[[], None] = lambda: None,
) -> Found:
    """Find the candidates in the videos of one batch of a `plan`. Of a long one no more is read than a window.

    Args:
        detector: In evaluation mode.
        dataset: The split.
        videos: Their numbers in it.
        config: Thresholds.
        autocast: Run the detector in bfloat16.
        beat: Called before every batch and every window of a long video, to show that this gets on.

    Raises:
        NonFiniteOutputError, ValueError: As `find_candidates`.
    """

    def beating(windows: Iterator[Window]) -> Iterator[Window]:
        for window in windows:
            beat()
            yield window

    beat()
    if len(videos) == 1 and is_long(detector, int(dataset.lengths[videos[0]])):
        recording = _recording(dataset, videos[0])
        levels = long_candidates(detector, recording, config, autocast=autocast, each=beating)
        return Found((recording.video_id,), [levels], (recording.grid,), (recording.duration_sec,))
    batch = collate([dataset[index] for index in videos], pad_multiple=detector.length_multiple)
    found = find_candidates(detector, batch, config, autocast=autocast)
    return Found(batch.video_ids, found, batch.grids, batch.durations_sec)


def _recording(dataset: DetectionDataset, index: int) -> Recording:
    video = dataset.videos[index]
    rows, grid = dataset.rows(index)

    def read(start: int, stop: int) -> torch.Tensor:
        return torch.tensor(rows.read(start, stop), dtype=torch.float32)

    return Recording(video.id, rows.num_steps, read, video.duration_sec, grid)
