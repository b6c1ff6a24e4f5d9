# SPDX-License-Identifier: Apache-2.0
"""Actions in a video that still arrives, by a run that was trained on features of videos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.grid import FeatureGrid
from asl_fast.detection.stream import StreamDetector, StreamedAction
from asl_fast.detection.trained import TrainedDetector
from asl_fast.video.cached import expected_backbone, recipe_of
from asl_fast.video.decode import open_video
from asl_fast.video.even import evenly
from asl_fast.video.live import arriving
from asl_fast.video.windows import windows


def stream_actions(
    trained: TrainedDetector,
    source: str,
    *,
    weights: Path | None = None,
    device: str = "auto",
    patience_sec: float = 5.0,
    least_score: float = 0.3,
    longest_sec: float | None = None,
) -> Iterator[StreamedAction]:
    """Read a video as it arrives and give each action once it is certain, in memory that does not grow.

    Args:
        trained: The detector.
        source: ``-``, a named pipe, or a file that grows.
        weights: As of `open_videos`.
        device: As of `open_backbone`.
        patience_sec: Seconds without growth after which a file is at its end.
        least_score: As of `StreamDetector`, like ``longest_sec``.
        longest_sec: See there.

    Raises:
        FileNotFoundError, ValueError, ImportError: As `open_backbone`, `open_video` and `StreamDetector`; for damage
            after all actions that are certain by then.
    """
    record = trained.dataset["manifest"]
    if record is None:
        raise ValueError("--stream: the run was not trained on features of videos")
    manifest = FeatureManifest(**record)
    recipe = recipe_of(manifest, weights)
    backbone = expected_backbone(recipe, device, manifest.extraction)
    with arriving(source, patience_sec) as file, open_video(file, name=f"--stream {source}") as video:
        grid = FeatureGrid(recipe.frame_rate or video.fps, recipe.stride, recipe.window, manifest.offset_frame)
        detector = StreamDetector(trained, grid, least_score=least_score, longest_sec=longest_sec)
        prepared = (backbone.prepare(image) for image in evenly(video.frames(), grid.fps))
        for frames in windows(prepared, recipe.window, recipe.stride):
            yield from detector.add(map(torch.from_numpy, backbone.features(np.stack(frames)[None])))
        yield from detector.end()
