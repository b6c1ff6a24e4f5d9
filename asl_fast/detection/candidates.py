# SPDX-License-Identifier: Apache-2.0
"""What a run's network finds in its test split before suppression, kept in a file so that it is computed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from asl_fast.data.bundle import DatasetBundle
from asl_fast.data.grid import FeatureGrid
from asl_fast.detection.trained import TrainedDetector
from asl_fast.models.config import InferenceConfig
from asl_fast.models.content import digest
from asl_fast.models.postprocess import Detections, detect, is_candidate
from asl_fast.training import split_candidates
from asl_fast.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from asl_fast.training.distributed import uses_bf16
from asl_fast.training.metrics_log import progress_bar


@dataclass(frozen=True)
class Limits:
    """Which candidates were kept, of any length; see `asl_fast.models.config.InferenceConfig`."""

    score_threshold: float
    candidates_per_level: int

    @classmethod
    def of(cls, config: InferenceConfig) -> Limits:
        """Return the limits of a configuration."""
        return cls(config.score_threshold, config.candidates_per_level)

    def cover(self, other: Limits) -> bool:
        """Tell whether all candidates within ``other`` are among those within these."""
        return self.score_threshold <= other.score_threshold and self.candidates_per_level >= other.candidates_per_level


@dataclass(frozen=True)
class Candidates:
    """Candidates of a split, level by level, in grid steps.

    Attributes:
        limits: Which were kept.
        videos: Per video by name the candidates of its levels, by falling score.
        durations_sec: Lengths by name.
        grids: What turns grid steps into seconds, by name.
    """

    limits: Limits
    videos: dict[str, list[Detections]]
    durations_sec: dict[str, float]
    grids: dict[str, FeatureGrid]

    def detections(self, config: InferenceConfig) -> dict[str, Detections]:
        """Apply post-processing: detections by name, in seconds and by falling score.

        Raises:
            ValueError: When ``config`` asks for candidates that were not kept.
        """
        limits = Limits.of(config)
        if not self.limits.cover(limits):
            raise ValueError(f"candidates within {limits} are not among those that were kept, within {self.limits}")
        found = {}
        for name, levels in self.videos.items():
            chosen = [_within(level, config) for level in levels]
            (found[name],) = detect(
                [chosen], grids=[self.grids[name]], durations_sec=[self.durations_sec[name]], config=config
            )
        return found


def _within(level: Detections, config: InferenceConfig) -> Detections:
    # The best of a level are chosen before short ones are left out, as the detector does it.
    best = slice(config.candidates_per_level)
    segments, scores, labels = level.segments[best], level.scores[best], level.labels[best]
    keep = is_candidate(segments, scores, config)
    return Detections(segments[keep], scores[keep], labels[keep])


def find(trained: TrainedDetector, bundle: DatasetBundle, limits: Limits) -> Candidates:
    """Run the network over the test split of a data set and keep its candidates.

    Raises:
        NonFiniteOutputError: Naming a video for which the network gives NaN or infinity.
    """
    config = trained.config
    inference = replace(config.inference, **asdict(limits), min_length_grid=-1.0)
    autocast = uses_bf16(config.precision, next(trained.detector.parameters()).device)
    batches = split_candidates.plan(trained.detector, bundle.test, config.evaluation.batch_size)
    found: dict[str, list[Detections]] = {}
    grids: dict[str, FeatureGrid] = {}
    for videos_of_batch in progress_bar(iter(batches), total=len(batches), name="finding candidates", shown=True):
        each = split_candidates.find(trained.detector, bundle.test, videos_of_batch, inference, autocast=autocast)
        for name, grid, of_video in zip(each.video_ids, each.grids, each.levels, strict=True):
            grids[name] = grid
            found[name] = [Detections(*(x.cpu() for x in (d.segments, d.scores, d.labels))) for d in of_video]
    videos = bundle.test.videos
    return Candidates(
        limits, {video.id: found[video.id] for video in videos}, {v.id: v.duration_sec for v in videos}, grids
    )


def save(path: Path, kept: Candidates, trained: TrainedDetector) -> None:
    """Write candidates, and which weights they come from.

    Raises:
        OSError: Naming the file, when the disk does not take it.
    """
    # Level after level of video after video, flat.
    num_levels = max(map(len, kept.videos.values()), default=0)
    flat = [level for levels in kept.videos.values() for level in levels]
    content = {
        "weights": _weights(trained),
        "precision": trained.config.precision,
        "limits": asdict(kept.limits),
        "levels": num_levels,
        "names": list(kept.videos),
        "durations_sec": [kept.durations_sec[name] for name in kept.videos],
        "grids": [asdict(kept.grids[name]) for name in kept.videos],
        "counts": torch.tensor([len(level.scores) for level in flat], dtype=torch.int64),
        "segments": torch.cat([level.segments for level in flat]),
        "scores": torch.cat([level.scores for level in flat]),
        "labels": torch.cat([level.labels for level in flat]),
    }
    save_checkpoint(path, content)


def load(path: Path, trained: TrainedDetector, limits: Limits) -> Candidates | None:
    """Read the candidates of a run; None where there are none of these weights within these limits.

    A file that is damaged counts as none: the candidates are found anew.
    """
    try:
        content = load_checkpoint(path)
        if (content["weights"], content["precision"]) != (_weights(trained), trained.config.precision):
            return None
        kept = _unpacked(content, Limits(**content["limits"]))
    except (FileNotFoundError, CheckpointError, KeyError, TypeError, ValueError, RuntimeError, AttributeError):
        return None
    return kept if kept.limits.cover(limits) else None


def _unpacked(content: Mapping[str, Any], limits: Limits) -> Candidates:
    names, num_levels = content["names"], content["levels"]
    counts = content["counts"].tolist()
    columns = [content[name].split(counts) for name in ("segments", "scores", "labels")]
    levels = [Detections(*row) for row in zip(*columns, strict=True)]
    return Candidates(
        limits,
        {name: levels[i * num_levels : (i + 1) * num_levels] for i, name in enumerate(names)},
        dict(zip(names, content["durations_sec"], strict=True)),
        {name: FeatureGrid(**grid) for name, grid in zip(names, content["grids"], strict=True)},
    )


def _weights(trained: TrainedDetector) -> str:
    return digest(trained.detector.state_dict())
