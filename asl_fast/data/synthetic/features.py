# SPDX-License-Identifier: Apache-2.0
"""Features of a synthetic twin, generated when they are asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.annotations.video import Video
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.synthetic.sensitivities import (
    LATENT_DIM,
    NUM_DISTRACTORS,
    Directions,
    Planted,
    directions,
    embedding,
)
from asl_fast.data.synthetic.statistics import BenchmarkProfile
from asl_fast.data.synthetic.timelines import seeded

# Strengths are in standard deviations of the latent noise along any one direction.
CLASS_GAIN = 8.0
"""Class evidence at its peak."""
BODY_GAIN = 3.0
"""Evidence that an action of this pair of confusable classes is under way, the same throughout the instance."""
BOUNDARY_GAIN = 7.0
"""Start and end evidence at their peaks."""
GAIN_SPREAD = 0.25
"""Standard deviation of the log strength between instances."""
BLURRED_INSTANCES = 0.12
"""Share of instances whose evidence is weak throughout."""
BLURRED_FRAMES = 0.1
"""Share of a video in which evidence is weak and noise strong, in short runs."""
BLUR_GAIN = 0.35
"""What blurring leaves of the evidence."""
BLUR_RUN_GRID = 4.0
"""Mean length of a blurred run, in grid steps."""
DECOY_RATE = 0.35
"""Share of instances that show their confusable class outside their own sensitive range."""
DECOY_GAIN = 4.8
"""Strength of that decoy at its peak."""
DISTRACTOR_RATE = 0.25
"""Background events per instance, and as many again per minute."""
DISTRACTOR_GAIN = 5.0
"""Strength of a background event at its peak."""
SCENE_GAIN = 0.25
"""Standard deviation of a video's constant offset, per latent direction; its slow drift has the same total size."""
CHANNEL_NOISE = 0.3
"""Standard deviation of the noise added to every channel on its own; the latent noise gives each channel about 1."""
SUBFRAMES = 8
"""Places inside a feature's window at which evidence is averaged."""
DEFAULT_CACHE_BYTES = 512 * 2**20


class SyntheticFeatureStore:
    """Generates the features of each video from its annotations, the planted sensitivities and a seed of its own.

    Order of loading, process and cache do not change the result. Arrays are read-only; the most recently used stay in
    memory up to ``cache_bytes``.

    Args:
        profile: The benchmark that is imitated.
        videos: Every video that may be asked for.
        planted: Sensitivities to plant.
        manifest: Timing and width of the features.
        seed: Seed of the twin.
        cache_bytes: Memory for generated features; 0 keeps none.
    """

    def __init__(
        self,
        profile: BenchmarkProfile,
        videos: Iterable[Video],
        planted: Planted,
        manifest: FeatureManifest,
        *,
        seed: int = 0,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
    ) -> None:
        self.profile = profile
        self.planted = planted
        self.manifest = manifest
        self.seed = seed
        self.cache_bytes = cache_bytes
        self.directions = directions(profile, planted, seed)
        self.embedding = embedding(profile, manifest.dim, seed)
        self._videos = {video.id: video for video in videos}
        labels = [video.labels for video in self._videos.values()]
        self._classes = np.unique(np.concatenate(labels)) if labels else np.zeros(0, np.int64)
        self._cache: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._cached_bytes = 0

    @property
    def dim(self) -> int:
        """Width of a feature vector."""
        return self.manifest.dim

    @property
    def cached_bytes(self) -> int:
        """Memory that cached features take."""
        return self._cached_bytes

    def __contains__(self, video_id: object) -> bool:
        return video_id in self._videos

    def length(self, video_id: str) -> int:
        """Count feature vectors of a video; nothing is generated."""
        video = self._video(video_id)
        return self.manifest.extracted_grid(video, 1).num_steps(video.duration_sec)

    def load(self, video_id: str) -> NDArray[np.float32]:
        """Features (T, dim) float32 of a video, read-only.

        Raises:
            KeyError: For a video that the twin does not have.
        """
        if video_id in self._cache:
            self._cache.move_to_end(video_id)
            return self._cache[video_id]
        features = self._generate(self._video(video_id))
        features.setflags(write=False)
        if features.nbytes <= self.cache_bytes:
            self._cache[video_id] = features
            self._cached_bytes += features.nbytes
            while self._cached_bytes > self.cache_bytes:
                self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return features

    def evidence(self, video_id: str) -> NDArray[np.float32]:
        """(T, K) strength of each of ``directions.rows`` in a video, before noise: what an oracle would see."""
        video = self._video(video_id)
        return self._evidence(video, self._rng(video))

    def _video(self, video_id: str) -> Video:
        if video_id not in self._videos:
            raise KeyError(f"the synthetic twin of {self.profile.name} has no video {video_id!r}")
        return self._videos[video_id]

    def _rng(self, video: Video) -> np.random.Generator:
        return seeded(self.seed, self.profile.name, "features", video.id)

    def _generate(self, video: Video) -> NDArray[np.float32]:
        rng = self._rng(video)
        latent = self._evidence(video, rng) @ self.directions.rows
        latent += rng.standard_normal(latent.shape, dtype=np.float32)
        latent += _scene(len(latent), rng)
        features = latent @ self.embedding
        features += np.float32(CHANNEL_NOISE) * rng.standard_normal(features.shape, dtype=np.float32)
        return np.ascontiguousarray(features)

    def _evidence(self, video: Video, rng: np.random.Generator) -> NDArray[np.float32]:
        steps = self.length(video.id)
        grid = self.manifest.extracted_grid(video, steps)
        # Frames that a feature's window averages over, in grid units from its index.
        window = grid.reach_grid * (2 * (np.arange(SUBFRAMES) + 0.5) / SUBFRAMES - 1)
        canvas = _Canvas(steps, window, len(self.directions.rows))
        segments = grid.to_grid(video.segments_sec)
        for (start, stop), label in zip(segments.tolist(), video.labels.tolist(), strict=True):
            _draw_instance(canvas, start, stop, label, self.planted, self.directions, rng)
        self._draw_background(canvas, segments, steps * grid.step_sec / 60, rng)
        canvas.strength *= np.where(_blurred_runs(steps, rng), BLUR_GAIN, 1.0).astype(np.float32)[:, None]
        return canvas.strength

    def _draw_background(
        self, canvas: _Canvas, segments: NDArray[np.float64], minutes: float, rng: np.random.Generator
    ) -> None:
        """Glimpses of classes without their body and boundaries, boundaries without an action, and unrelated events."""
        lengths = segments[:, 1] - segments[:, 0] if len(segments) else np.array([canvas.steps / 8])
        for _ in range(rng.poisson(DISTRACTOR_RATE * (len(segments) + minutes))):
            label = int(rng.choice(self._classes)) if len(self._classes) else 0
            row = (
                self.directions.of_class(label),
                self.directions.of_boundary(label, int(rng.integers(2))),
                self.directions.of_distractor(int(rng.integers(NUM_DISTRACTORS))),
            )[int(rng.integers(3))]
            center, width = rng.uniform(0, canvas.steps), 0.2 * float(rng.choice(lengths)) + 0.5
            canvas.add(row, center - 3 * width, center + 3 * width, _bump(center, width), DISTRACTOR_GAIN)


class _Canvas:
    """(T, K) evidence strengths, averaged over each feature's window."""

    def __init__(self, steps: int, window: NDArray[np.float64], rows: int) -> None:
        self.steps = steps
        self.window = window
        self.strength = np.zeros((steps, rows), dtype=np.float32)

    def add(
        self,
        row: int,
        start: float,
        stop: float,
        curve: Callable[[NDArray[np.float64]], NDArray[np.float64]],
        gain: float,
    ) -> None:
        """Add gain * curve(time) inside [start, stop], times in grid units."""
        reach = float(self.window[-1])
        first, last = max(int(np.floor(start - reach)), 0), min(int(np.ceil(stop + reach)) + 1, self.steps)
        if first >= last:
            return
        time = np.arange(first, last)[:, None] + self.window
        inside = (time >= start) & (time <= stop)
        self.strength[first:last, row] += (gain * np.where(inside, curve(time), 0.0)).mean(axis=1)


def _draw_instance(
    canvas: _Canvas,
    start: float,
    stop: float,
    label: int,
    planted: Planted,
    rows: Directions,
    rng: np.random.Generator,
) -> None:
    center, length = (start + stop) / 2, max(stop - start, 1e-6)
    mu, sigma = planted.mu[label], planted.sigma[label]
    gain = float(np.exp(GAIN_SPREAD * rng.standard_normal()))
    sharp = gain * (BLUR_GAIN if rng.random() < BLURRED_INSTANCES else 1.0)
    strengths = (CLASS_GAIN, BOUNDARY_GAIN, BOUNDARY_GAIN)
    kinds = (rows.of_class(label), rows.of_boundary(label, 0), rows.of_boundary(label, 1))
    for kind, strength, place, width in zip(kinds, strengths, mu.tolist(), sigma.tolist(), strict=True):
        canvas.add(kind, start, stop, _bump(center + place * length, width * length), strength * sharp)
    canvas.add(rows.of_body(label), start, stop, np.ones_like, BODY_GAIN * gain)
    decoy, place = rng.random() < DECOY_RATE, np.linspace(-0.45, 0.45, 19)
    place = place[np.abs(place - mu[0]) > 1.5 * sigma[0]]
    if decoy and len(place):
        at = center + float(rng.choice(place)) * length
        partner = rows.of_class(int(planted.partner[label]))
        canvas.add(partner, start, stop, _bump(at, 0.1 * length), DECOY_GAIN * gain)


def _bump(center: float, width: float) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    return lambda time: np.asarray(np.exp(-0.5 * ((time - center) / width) ** 2))


def _blurred_runs(steps: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(T,) mask of blurred steps: a two-state Markov chain drawn as alternating run lengths."""
    clear = BLUR_RUN_GRID * (1 - BLURRED_FRAMES) / BLURRED_FRAMES
    pairs = int(np.ceil(2 * steps / (clear + BLUR_RUN_GRID))) + 4
    runs = np.stack([rng.geometric(1 / clear, pairs), rng.geometric(1 / BLUR_RUN_GRID, pairs)], axis=1).ravel()
    mask = np.repeat(np.arange(len(runs)) % 2 == 1, runs)[:steps]
    return np.append(mask, np.zeros(steps - len(mask), dtype=bool))


def _scene(steps: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(T, LATENT_DIM) constant offset of a video and slow drift around it."""
    waves = 6
    offset = rng.standard_normal(LATENT_DIM, dtype=np.float32)
    shapes = rng.standard_normal((waves, LATENT_DIM), dtype=np.float32) / np.float32(np.sqrt(waves / 2))
    period = np.exp(rng.uniform(np.log(40.0), np.log(1000.0), waves))
    phase = rng.uniform(0, 2 * np.pi, waves)
    drift = np.cos(2 * np.pi * np.arange(steps)[:, None] / period + phase).astype(np.float32)
    return np.asarray(np.float32(SCENE_GAIN) * (offset + drift @ shapes), dtype=np.float32)
