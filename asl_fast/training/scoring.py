# SPDX-License-Identifier: Apache-2.0
"""Detections of a whole split beside its ground truth, as the evaluation takes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.annotations.video import Video
from asl_fast.data.dataset import DetectionDataset
from asl_fast.evaluation.mean_ap import MeanAveragePrecision
from asl_fast.evaluation.protocols import ProtocolResult
from asl_fast.evaluation.spotting import Spotting
from asl_fast.models.config import InferenceConfig
from asl_fast.models.detector import ActionDetector
from asl_fast.models.postprocess import Detections, detect
from asl_fast.training import split_candidates
from asl_fast.training.distributed import Processes

Columns = dict[str, NDArray[Any]]


def prediction_columns(videos: Iterable[tuple[str, Detections]]) -> Columns:
    """Put detections into columns ``video``, ``segments`` (N, 2) in seconds, ``labels`` and ``scores``."""
    pairs = list(videos)
    return {
        "video": np.concatenate([np.empty(0, "<U1"), *(np.full(len(d.scores), name) for name, d in pairs)]),
        "segments": np.concatenate([np.empty((0, 2)), *(d.segments.double().numpy() for _, d in pairs)]),
        "labels": np.concatenate([np.empty(0, np.int64), *(d.labels.numpy() for _, d in pairs)]),
        "scores": np.concatenate([np.empty(0), *(d.scores.double().numpy() for _, d in pairs)]),
    }


def ground_truth_columns(videos: Sequence[Video]) -> Columns:
    """Put annotations into columns ``video``, ``segments`` (N, 2) in seconds, and ``labels``.

    Segments that end before they start are left out: no detection can match them. All others stay as annotated, also
    those outside the recording.
    """
    keep = [video.segments_sec[:, 1] >= video.segments_sec[:, 0] for video in videos]
    return {
        "video": np.concatenate([np.full(int(k.sum()), v.id) for v, k in zip(videos, keep, strict=True)]),
        "segments": np.concatenate([v.segments_sec[k] for v, k in zip(videos, keep, strict=True)]),
        "labels": np.concatenate([v.labels[k] for v, k in zip(videos, keep, strict=True)]),
    }


def frame_borders(videos: Sequence[Video]) -> dict[str, list[float]]:
    """Borders between the original frames, in seconds, of the videos whose annotations count in frames."""
    return {video.id: video.extra["frame_borders_sec"] for video in videos if "frame_borders_sec" in video.extra}


def predict(
    detector: ActionDetector,
    dataset: DetectionDataset,
    inference: InferenceConfig,
    *,
    batch_size: int,
    autocast: bool,
    processes: Processes,
) -> Columns:
    """Detect in a whole split.

    Args:
        detector: Put into evaluation mode.
        dataset: The split.
        inference: Thresholds.
        batch_size: Videos per batch and process.
        autocast: Run the detector in bfloat16.
        processes: They share the videos.

    Returns:
        Detections as `prediction_columns` puts them, in the order of the split's videos, the same on every process.
    """
    detector.eval()
    found: dict[str, Detections] = {}
    shares = {"rank": processes.rank, "world_size": processes.world_size}
    for videos in split_candidates.plan(detector, dataset, batch_size, **shares):
        each = split_candidates.find(detector, dataset, videos, inference, autocast=autocast, beat=processes.beat)
        made = detect(each.levels, grids=each.grids, durations_sec=each.durations_sec, config=inference)
        found.update(zip(each.video_ids, made, strict=True))
    merged = {name: each for part in processes.gather(found) for name, each in part.items()}
    return prediction_columns((video.id, merged[video.id]) for video in dataset.videos)


def summary(result: ProtocolResult) -> dict[str, float]:
    """Sum a result up by name: ``average_map``, ``map@T`` per threshold, and the same from ``strict_`` thresholds.

    Where the benchmark counts results, also ``detection_rate``, ``false_positive_rate`` and ``jaccard``.
    """
    numbers: dict[str, float] = {}
    for prefix, name in (("", "mAP"), ("strict_", "strict mAP")):
        measure = result.measures.get(name)
        if isinstance(measure, MeanAveragePrecision):
            numbers[f"{prefix}average_map"] = measure.average_map
            pairs = zip(measure.tiou_thresholds.tolist(), measure.map.tolist(), strict=True)
            numbers |= {f"{prefix}map@{threshold:g}": value for threshold, value in pairs}
    for measure in result.measures.values():
        if isinstance(measure, Spotting):
            numbers |= {name: getattr(measure, name) for name in ("detection_rate", "false_positive_rate", "jaccard")}
    return numbers
