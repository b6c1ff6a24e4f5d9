# SPDX-License-Identifier: Apache-2.0
"""Detection in a set of recordings: which of them can be used, what is found there, and the file it goes into."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from asl_fast.data.dataset import Sample
from asl_fast.detection.recordings import Recordings
from asl_fast.detection.trained import TrainedDetector
from asl_fast.evaluation.activitynet_json import write_detections_of_videos
from asl_fast.models.postprocess import Detections, with_length
from asl_fast.models.windows import is_long
from asl_fast.training.inference import Recording
from asl_fast.training.metrics_log import progress_bar


@dataclass(frozen=True)
class Found:
    """What a detector found in the recordings that can be used.

    Attributes:
        detections: Per recording by name, in seconds and by falling score.
        durations_sec: Lengths of the same recordings.
        fps: Their frames per second.
        skipped: Names of the other recordings, with what is wrong with each.
    """

    detections: dict[str, Detections]
    durations_sec: dict[str, float]
    fps: dict[str, float]
    skipped: dict[str, Exception]


def detect_recordings(
    trained: TrainedDetector, recordings: Recordings, *, batch_size: int = 4, strict: bool = False
) -> Found:
    """Detect in all recordings, in long ones window by window, showing progress where the output is a terminal.

    Detections without length are left out; the detections that training scores hold them, as ActionFormer's do.

    Args:
        trained: The detector.
        recordings: Where to detect.
        batch_size: Recordings per batch.
        strict: Stop at a recording that cannot be used instead of leaving it out.

    Raises:
        OSError, ValueError: Naming the first recording that cannot be used, if strict or if none can be used.
    """
    skipped: dict[str, Exception] = {}

    long: list[Recording] = []

    def usable() -> Iterator[Sample]:
        for name in recordings.names:
            try:
                recording = recordings.open(name)
                if is_long(trained.detector, recording.num_steps):
                    long.append(recording)
                else:
                    yield recording.sample()
            except (ValueError, OSError) as error:
                if strict:
                    raise
                skipped[name] = error

    detections: dict[str, Detections] = {}
    durations_sec: dict[str, float] = {}
    fps: dict[str, float] = {}

    def fails(sample: Sample, error: ValueError) -> None:
        skipped[sample.video_id] = error

    pairs = trained.detect(usable(), batch_size=batch_size, on_failure=None if strict else fails)
    for sample, found in progress_bar(pairs, total=len(recordings), name="detecting", shown=True):
        detections[sample.video_id] = with_length(found)
        durations_sec[sample.video_id] = sample.duration_sec
        fps[sample.video_id] = sample.grid.fps
    for recording in long:
        try:
            detections[recording.video_id] = with_length(trained.detect_long(recording))
        except (ValueError, OSError) as error:
            if strict:
                raise
            skipped[recording.video_id] = error
            continue
        durations_sec[recording.video_id] = recording.duration_sec
        fps[recording.video_id] = recording.grid.fps
    if skipped and not detections:
        raise next(iter(skipped.values()))
    return Found(detections, durations_sec, fps, skipped)


def write_found(path: Path, found: Found, trained: TrainedDetector) -> None:
    """Write detections as ActivityNet-style JSON: classes by name, and which checkpoint they come from.

    Raises:
        OSError: When the file cannot be written.
    """
    source = {"checkpoint": str(trained.path), "epoch": trained.epoch, "synthetic": trained.dataset["synthetic"]}
    names = trained.class_names
    # One after the other: as text and as Python's numbers, detections take ten times what they take as tensors.
    videos = (
        (
            name,
            each.segments.double().tolist(),
            [names[label] for label in each.labels.tolist()],
            each.scores.double().tolist(),
        )
        for name, each in found.detections.items()
    )
    write_detections_of_videos(path, videos, external_data=source)
