# SPDX-License-Identifier: Apache-2.0
"""A detector that knows a twin's planted evidence: correlate each class's template at several lengths, keep the peaks.

It is linear, sees one class at a time and one template per length, so it is a lower bound on what can be detected, and
shows how hard a twin is without training anything.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.annotations.video import Video
from asl_fast.data.synthetic import features as strength
from asl_fast.data.synthetic.features import SyntheticFeatureStore
from asl_fast.evaluation import mean_average_precision

PER_CLASS = 60


def latent(store: SyntheticFeatureStore, video: Video) -> NDArray[np.float64]:
    """(T, LATENT_DIM) estimate of what the embedding was applied to, without the video's constant offset."""
    features = store.load(video.id).astype(np.float64)
    estimate = features @ np.linalg.pinv(store.embedding.astype(np.float64))
    return np.asarray(estimate - np.median(estimate, axis=0))


def detect(store: SyntheticFeatureStore, videos: tuple[Video, ...], lengths: int = 9) -> dict[str, NDArray[Any]]:
    """Predictions for `mean_average_precision`; candidate lengths are quantiles of the class's own in ``videos``."""
    rows, planted = store.directions, store.planted
    by_class = {
        int(c): np.concatenate([np.diff(v.segments_sec[v.labels == c])[:, 0] for v in videos])
        for c in np.unique(np.concatenate([v.labels for v in videos]))
    }
    found: dict[str, list[Any]] = {"video": [], "segments": [], "labels": [], "scores": []}
    for video in videos:
        z = latent(store, video)
        grid = store.manifest.extracted_grid(video, len(z))
        for label, seconds in by_class.items():
            kinds = [rows.of_class(label), rows.of_boundary(label, 0), rows.of_boundary(label, 1), rows.of_body(label)]
            basis = rows.rows[kinds].astype(np.float64)
            response, gram = z @ basis.T, basis @ basis.T
            segments, scores = [], []
            for quantile in (np.arange(lengths) + 0.5) / lengths:
                steps = max(float(np.quantile(seconds, quantile)) / grid.step_sec, 1.0)
                half = int(np.ceil(steps / 2))
                d = np.arange(-half, half + 1) / steps
                gains = [strength.CLASS_GAIN, strength.BOUNDARY_GAIN, strength.BOUNDARY_GAIN]
                template = [
                    g * np.exp(-0.5 * ((d - planted.mu[label, k]) / planted.sigma[label, k]) ** 2)
                    for k, g in enumerate(gains)
                ]
                template.append(np.full_like(d, strength.BODY_GAIN))
                shape = np.stack(template, axis=1) * (np.abs(d) <= 0.5)[:, None]
                padded = np.pad(response, ((half, half), (0, 0)))
                score = sum(np.correlate(padded[:, k], shape[:, k], mode="valid") for k in range(4))
                score = score - 0.5 * np.einsum("ti,ij,tj->", shape, gram, shape)
                time = np.arange(len(z))
                segments.append(np.stack([grid.to_sec(time - steps / 2), grid.to_sec(time + steps / 2)], axis=1))
                scores.append(score)
            kept_segments, kept_scores = _suppress(np.concatenate(segments), np.concatenate(scores))
            found["video"] += [video.id] * len(kept_scores)
            found["segments"].append(kept_segments)
            found["labels"].append(np.full(len(kept_scores), label))
            found["scores"].append(kept_scores)
    return {"video": np.array(found["video"])} | {k: np.concatenate(found[k]) for k in ("segments", "labels", "scores")}


def average_map(store: SyntheticFeatureStore, videos: tuple[Video, ...], tiou: tuple[float, ...]) -> float:
    """Average mAP of `detect` on videos of the twin."""
    truth = {
        "video": np.repeat([v.id for v in videos], [len(v.labels) for v in videos]),
        "segments": np.concatenate([v.segments_sec for v in videos]),
        "labels": np.concatenate([v.labels for v in videos]),
    }
    return float(mean_average_precision(truth, detect(store, videos), tiou).average_map)


def _suppress(segments: NDArray[np.float64], scores: NDArray[np.float64]) -> tuple[Any, Any]:
    order = np.argsort(-scores)
    order = order[scores[order] > 0][:2000]
    segments, scores = segments[order], scores[order]
    kept: list[int] = []
    alive = np.ones(len(scores), dtype=bool)
    while alive.any() and len(kept) < PER_CLASS:
        best = int(np.argmax(alive))
        kept.append(best)
        overlap = np.minimum(segments[:, 1], segments[best, 1]) - np.maximum(segments[:, 0], segments[best, 0])
        union = np.maximum(segments[:, 1], segments[best, 1]) - np.minimum(segments[:, 0], segments[best, 0])
        alive &= overlap / union < 0.3
        alive[best] = False
    return segments[kept], scores[kept]
