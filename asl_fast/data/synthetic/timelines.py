# SPDX-License-Identifier: Apache-2.0
"""Which actions happen when: the annotations of a synthetic twin."""

from __future__ import annotations

import heapq
import math
import zlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.annotations.video import Video
from asl_fast.data.synthetic.statistics import BenchmarkProfile, Quantiles, SplitStatistics, TwinSize, normal_ranks

MIN_INSTANCE_SEC = 0.03
FULLEST = 0.98
"""Share of a video that instances following each other may fill."""
NEW_CLASS_TRIES = 4
"""How many of the most wanted classes are tried before a video gets two clusters of one class."""
REPEAT_JITTER = 0.08
"""Standard deviation of a repeated annotation's boundaries, in instance lengths."""


class _Split(NamedTuple):
    """One split before placement; rows of ``labels`` and ``lengths_sec`` belong to video ``owner``."""

    durations_sec: NDArray[np.float64]
    owner: NDArray[np.int64]
    labels: NDArray[np.int64]
    lengths_sec: NDArray[np.float64]
    repeats: NDArray[np.int64]


def seeded(seed: int, *words: str | int) -> np.random.Generator:
    """Make a generator that depends on the seed and the words alone, not on process, platform or order of calls."""
    keys = [word if isinstance(word, int) else zlib.crc32(word.encode()) for word in words]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *keys])))


def class_weights(profile: BenchmarkProfile, size: TwinSize, seed: int) -> NDArray[np.float64]:
    """(C,) probability that an instance is drawn with each class, companions not counted; inactive classes have 0."""
    weights = _class_counts(profile, seed)
    if size.active_classes is not None:
        weights[class_ranking(profile, seed)[size.active_classes :]] = 0.0
    for member, companion in profile.companions:
        weights[companion] = max(weights[companion] - weights[member], 0.0)
    weights = np.where(weights > 0, weights**size.frequency_power, 0.0)
    return np.asarray(weights / weights.sum())


def class_ranking(profile: BenchmarkProfile, seed: int) -> NDArray[np.int64]:
    """(C,) classes from the most to the least frequent."""
    return np.argsort(-_class_counts(profile, seed), kind="stable")


def _class_counts(profile: BenchmarkProfile, seed: int) -> NDArray[np.float64]:
    if not isinstance(profile.class_counts, Quantiles):
        return np.array(profile.class_counts, dtype=np.float64)
    scores = normal_ranks(np.arange(profile.num_classes, dtype=np.float64))
    return seeded(seed, profile.name, "class weights").permutation(profile.class_counts.at(scores))


def draw_videos(
    profile: BenchmarkProfile, split: SplitStatistics, num_videos: int, size: TwinSize, seed: int
) -> tuple[Video, ...]:
    """Annotated videos of one split.

    Video lengths, instance counts and instance lengths follow the published quantiles at any number of videos (their
    ranks are spread evenly); classes follow the published frequencies; see `BenchmarkProfile` for the rest.
    """
    rng = seeded(seed, profile.name, split.subset)
    drawn = _draw_split(profile, split, num_videos, size, seed, rng)
    rates = np.array([rate for rate, _ in profile.fps_choices])
    shares = np.array([share for _, share in profile.fps_choices])
    fps = rates[rng.choice(len(rates), size=num_videos, p=shares / shares.sum())]
    starts = np.searchsorted(drawn.owner, np.arange(num_videos + 1))
    videos = []
    for index in range(num_videos):
        rows = slice(starts[index], starts[index + 1])
        duration = float(drawn.durations_sec[index])
        labels = drawn.labels[rows]
        segments = _place(profile, labels, drawn.lengths_sec[rows], duration, rng)
        if drawn.repeats[index] and len(labels):
            source = rng.integers(0, len(labels), size=drawn.repeats[index])
            moved = rng.normal(0.0, REPEAT_JITTER, (len(source), 2)) * np.diff(segments[source])
            segments, labels = np.concatenate([segments, segments[source] + moved]), np.append(labels, labels[source])
        segments, labels = _finish(profile, segments, labels, duration)
        video_id = f"synthetic_{profile.name}_{split.subset}_{index:05d}"
        videos.append(Video(video_id, split.subset, duration, segments, labels, fps=float(fps[index])))
    return tuple(videos)


def _draw_split(
    profile: BenchmarkProfile,
    split: SplitStatistics,
    num_videos: int,
    size: TwinSize,
    seed: int,
    rng: np.random.Generator,
) -> _Split:
    correlation = profile.count_video_correlation
    video_score = rng.standard_normal(num_videos)
    count_score = correlation * video_score + np.sqrt(1 - correlation**2) * rng.standard_normal(num_videos)
    durations = split.video_sec.at(normal_ranks(video_score))
    expected = split.instances.at(normal_ranks(count_score))
    if size.max_video_sec is not None:
        capped = np.minimum(durations, size.max_video_sec)
        expected, durations = np.maximum(expected * capped / durations, 1.0), capped
    durations = np.round(durations, 2)
    counts = np.floor(expected + rng.random(num_videos)).astype(np.int64)
    counts[rng.permutation(num_videos)[: round(split.empty_fraction * num_videos)]] = 0
    repeats = rng.binomial(counts, profile.annotator_repeats)
    repeats = np.minimum(repeats, np.maximum(counts - 1, 0))
    distinct = counts - repeats
    owner = np.repeat(np.arange(num_videos), distinct)

    weights = class_weights(profile, size, seed)
    labels = _deal_classes(distinct, weights, profile.mixing, rng)
    score = np.sqrt(profile.class_share) * _class_scores(profile, split, weights, seed)[labels]
    draw = {pair: rng.standard_normal() for pair in sorted(set(zip(owner.tolist(), labels.tolist(), strict=True)))}
    score += np.sqrt(profile.video_share) * np.array(
        [draw[pair] for pair in zip(owner.tolist(), labels.tolist(), strict=True)]
    ).reshape(-1)
    within = max(1.0 - profile.class_share - profile.video_share, 0.0)
    score += np.sqrt(within) * rng.standard_normal(len(labels))
    rho = profile.length_count_correlation
    score = rho * normal_ranks(count_score)[owner] + np.sqrt(1 - rho**2) * score
    lengths = split.lengths.at(normal_ranks(score))
    lengths = lengths * durations[owner] if profile.length_unit == "video" else np.minimum(lengths, durations[owner])
    return _Split(durations, owner, labels, np.maximum(lengths, MIN_INSTANCE_SEC), repeats)


def _class_scores(
    profile: BenchmarkProfile, split: SplitStatistics, weights: NDArray[np.float64], seed: int
) -> NDArray[np.float64]:
    """(C,) typical length of each class as a standardised score, weighted by how often the class occurs."""
    if profile.class_median_sec is None:
        scores = seeded(seed, profile.name, "class lengths").standard_normal(profile.num_classes)
    else:
        scores = np.array([split.lengths.normal_score(median) for median in profile.class_median_sec])
    scores = scores - weights @ scores
    spread = math.sqrt(weights @ scores**2)
    return np.asarray(scores / max(spread, 1e-9))


def _deal_classes(
    counts: NDArray[np.int64], weights: NDArray[np.float64], mixing: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Classes of all instances, video after video.

    The instances of a video fall into clusters of one class by a Chinese restaurant process: instance j opens a cluster
    with probability mixing / (mixing + j), otherwise it joins that of an earlier instance. Clusters then get their
    classes, the largest first, each the class that is furthest below its share of ``weights`` (preferably new to the
    video), so frequencies are met at any size and no class is left out by chance.
    """
    cluster = np.empty(counts.sum(), dtype=np.int64)
    video_of: list[int] = []
    row = 0
    for video, count in enumerate(counts.tolist()):
        position = np.arange(count)
        opens = rng.random(count) * (mixing + position) <= mixing
        joins = np.floor(rng.random(count) * np.maximum(position, 1)).astype(np.int64)
        for index in range(count):
            if opens[index]:
                cluster[row + index] = len(video_of)
                video_of.append(video)
            else:
                cluster[row + index] = cluster[row + joins[index]]
        row += count
    sizes = np.bincount(cluster, minlength=len(video_of))
    missing = weights * len(cluster)
    heap = [(-missing[label], rng.random(), int(label)) for label in np.flatnonzero(weights)]
    heapq.heapify(heap)
    label_of = np.empty(len(video_of), dtype=np.int64)
    seen: set[tuple[int, int]] = set()
    for index in np.lexsort((rng.random(len(sizes)), -sizes)).tolist():
        tried = [heapq.heappop(heap) for _ in range(min(NEW_CLASS_TRIES, len(heap)))]
        fresh = (k for k, (*_, label) in enumerate(tried) if (video_of[index], label) not in seen)
        need, tie, label = tried.pop(next(fresh, 0))
        for entry in (*tried, (need + sizes[index], tie, label)):
            heapq.heappush(heap, entry)
        seen.add((video_of[index], label))
        label_of[index] = label
    return label_of[cluster]


def _place(
    profile: BenchmarkProfile,
    labels: NDArray[np.int64],
    lengths: NDArray[np.float64],
    duration: float,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """(G, 2) segments in seconds; those of one group follow each other in random order with random gaps."""
    starts, lengths = np.zeros(len(labels)), lengths.copy()
    member_of = {companion: member for member, companion in profile.companions}
    lines: dict[int, list[int]] = {}
    for index, label in enumerate(labels.tolist()):
        lines.setdefault(0 if profile.placement == "video" else member_of.get(label, label), []).append(index)
    for key in sorted(lines):
        order = rng.permutation(lines[key])
        footprint = lengths[order] * profile.packing
        room = duration - (lengths[order[-1]] - footprint[-1])
        if footprint.sum() > FULLEST * room and len(order) > 1:
            shrink = FULLEST * room / footprint.sum()
            footprint = footprint * shrink
            if profile.packing == 1.0:
                lengths[order] *= shrink
        gaps = rng.gamma(profile.gap_shape, size=len(order) + 1) + 1e-12
        gaps *= max(room - footprint.sum(), 0.0) / gaps.sum()
        starts[order] = np.cumsum(gaps[:-1]) + np.concatenate([[0.0], np.cumsum(footprint)[:-1]])
    return np.stack([starts, starts + lengths], axis=1)


def _finish(
    profile: BenchmarkProfile, segments: NDArray[np.float64], labels: NDArray[np.int64], duration: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Add companions, round to the annotators' hundredths of a second, keep inside the video and sort by start."""
    for member, companion in profile.companions:
        both = labels == member
        segments, labels = np.concatenate([segments, segments[both]]), np.append(labels, np.full(both.sum(), companion))
    start = np.clip(np.round(segments[:, 0], 2), 0.0, max(duration - MIN_INSTANCE_SEC, 0.0))
    stop = np.clip(np.round(segments[:, 1], 2), start + MIN_INSTANCE_SEC, max(duration, MIN_INSTANCE_SEC))
    order = np.lexsort((labels, stop, start))
    return np.stack([start, stop], axis=1)[order], labels[order].astype(np.int64)
