# SPDX-License-Identifier: Apache-2.0
"""Soft-NMS of one class, of videos with the candidates of each benchmark, and of a whole data set in one call.

Against ActionFormer's compiled NMS, called video by video and class by class as its code does, where
``ACTIONFORMER_DIR`` is set, and against the reference at small sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from asl_fast import backend, soft_nms
from asl_fast.models.config import InferenceConfig
from benchmarks import actionformer
from benchmarks.registry import Case, Scale, close
from benchmarks.shapes import NAMES, shape

Result = tuple[Tensor, Tensor, Tensor, Tensor]
CANDIDATE_BYTES = 8 + 4 + 8 + 8  # segment, score, label, video


def cases(device: str) -> list[Case]:
    """Draw candidates around true segments like a detector's: many that overlap, scores that fall with the distance."""
    usual = InferenceConfig()
    dataset = "MultiTHUMOS test set, {} videos x 12,000 over 65 classes"
    return [
        _case(device, "3 videos x 300 over 5 classes", 3, 300, 5, usual, "small"),
        _case(device, "2,000 candidates, one class, one thread", 1, 2_000, 1, usual, threads=1),
        _case(device, "20,000 candidates, one class, one thread", 1, 20_000, 1, usual, threads=1),
        *(_benchmark(device, name) for name in NAMES),
        _case(device, dataset.format(10), 10, 12_000, 65, usual),
        _case(device, dataset.format(213), 213, 12_000, 65, usual, "large"),
    ]


def _benchmark(device: str, name: str) -> Case:
    real = shape(name)
    rule = real.config.inference
    pairs = sum(min(rule.candidates_per_level, length * real.classes) for length in real.lengths)
    return _case(device, f"{name}, one video x {pairs:,} over {real.classes} classes", 1, pairs, real.classes, rule)


def _case(
    device: str,
    name: str,
    videos: int,
    candidates: int,
    classes: int,
    rule: InferenceConfig,
    scale: Scale = "real",
    threads: int | None = None,
) -> Case:
    def fused(segments: Tensor, scores: Tensor, labels: Tensor, video_index: Tensor) -> Result:
        kept = soft_nms(
            segments,
            scores,
            None if rule.class_agnostic else labels,
            sigma=rule.nms_sigma,
            iou_threshold=rule.nms_iou_threshold,
            min_score=rule.min_score,
            max_segments=rule.max_segments,
            voting_threshold=rule.voting_threshold if rule.class_agnostic else None,
            video_index=video_index,
            num_videos=videos,
        )
        assert kept.video_index is not None
        return kept.segments, kept.scores, labels[kept.indices], kept.video_index

    def reference(*inputs: Tensor) -> Result:
        with backend("reference"):
            return fused(*inputs)

    def theirs(segments: Tensor, scores: Tensor, labels: Tensor, video_index: Tensor) -> Result:
        loaded = actionformer.load()
        assert loaded is not None
        parts = []
        for video in range(videos):
            rows = slice(video * candidates, (video + 1) * candidates)
            parts.append(
                loaded.nms.batched_nms(
                    segments[rows],
                    scores[rows],
                    labels[rows],
                    rule.nms_iou_threshold,
                    rule.min_score,
                    rule.max_segments,
                    use_soft_nms=True,
                    multiclass=not rule.class_agnostic,
                    sigma=rule.nms_sigma,
                    voting_thresh=(rule.voting_threshold or 0.0) if rule.class_agnostic else 0.0,
                )
            )
        which = [torch.full_like(part[2], video) for video, part in enumerate(parts)]
        return (*(torch.cat([part[i] for part in parts]) for i in range(3)), torch.cat(which))  # type: ignore[return-value]

    baselines: dict[str, Callable[..., Any]] = {}
    if scale == "small":
        baselines["reference"] = reference
    if device == "cpu" and actionformer.load() is not None:
        baselines["ActionFormer"] = theirs
    return Case(
        name,
        lambda: _candidates(device, videos, candidates, classes),
        fused,
        baselines,
        bytes_moved=videos * candidates * CANDIDATE_BYTES,
        items=videos,
        scale=scale,
        threads=threads,
        agree=_agree,
    )


def _candidates(device: str, videos: int, candidates: int, classes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw candidates that each belong to one of 60 instances of its video; no two scores are equal."""
    generator = torch.Generator().manual_seed(0)
    count = videos * candidates
    start = 2_300 * torch.rand(videos, 60, generator=generator)
    length = 15 * torch.exp(0.8 * torch.randn(videos, 60, generator=generator))
    label = torch.randint(classes, (videos, 60), generator=generator)
    which = torch.randint(60, (videos, candidates), generator=generator)
    shift = torch.randn(2, videos, candidates, generator=generator)
    long = length.gather(1, which)
    first = start.gather(1, which) + 0.4 * shift[0] * long
    segments = torch.stack((first, first + long * torch.exp(0.3 * shift[1])), -1).flatten(0, 1)
    rank = (-shift.square().sum(0)).flatten() + 0.5 * torch.randn(count, generator=generator)
    scores = torch.empty(count)
    scores[rank.argsort(descending=True)] = torch.linspace(0.95, 0.0015, count)
    labels = label.gather(1, which).flatten()
    # A third of what a detector fires at is another class.
    strays = torch.rand(count, generator=generator) < 1 / 3
    labels[strays] = torch.randint(classes, (int(strays.sum()),), generator=generator)
    video_index = torch.arange(videos).repeat_interleave(candidates)
    return segments.to(device), scores.to(device), labels.to(device), video_index.to(device)


def _agree(ours: Result, theirs: Result) -> None:
    """Expect the same detections up to the order of those whose scores are the same to six digits."""
    close(rtol=1e-5, atol=1e-6)(ours[1], theirs[1])
    close(0, 0)(ours[3], theirs[3])
    same = torch.isclose(ours[0], theirs[0], rtol=1e-4, atol=1e-3).all(-1) & (ours[2] == theirs[2])
    if same.float().mean() < 0.995:
        raise AssertionError(f"{int((~same).sum())} of {len(same)} detections differ")
