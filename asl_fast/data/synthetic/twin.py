# SPDX-License-Identifier: Apache-2.0
"""Synthetic twins: data sets that imitate a benchmark's statistics and hide a known answer in their features."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.annotations.video import Annotations
from asl_fast.data.bundle import DatasetBundle
from asl_fast.data.dataset import DetectionDataset
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.synthetic.features import DEFAULT_CACHE_BYTES, SyntheticFeatureStore
from asl_fast.data.synthetic.profiles import PROFILES
from asl_fast.data.synthetic.sensitivities import plant
from asl_fast.data.synthetic.statistics import BenchmarkProfile, TwinSize
from asl_fast.data.synthetic.timelines import draw_videos
from asl_fast.wording import count, nearest

SCALES = ("smoke", "reduced", "full")


def make_twin(
    name: str,
    *,
    scale: float | str = "reduced",
    seed: int = 0,
    feature_dim: int | None = None,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
) -> DatasetBundle:
    """Make the synthetic twin of a benchmark.

    Classes, split names, feature width, frame rate and stride are the benchmark's; video lengths, instance lengths,
    instances per video, class frequencies and overlap follow its published statistics. Every class has a planted
    sensitivity (see `asl_fast.data.synthetic.sensitivities`), so that the mu and sigma that ASL learns (Shao et al.,
    ICCV 2023) can be compared with the truth: ``planted_sensitivities(bundle)``.

    Args:
        name: A benchmark with features that are not read here: see ``PROFILES``.
        scale: ``"smoke"`` (seconds to two minutes of training), ``"reduced"`` (minutes), ``"full"``; or a number: that
            share of the benchmark's videos, 1.0 being all, each as long and as wide as in the benchmark.
        seed: Seed of everything; the result depends on it, the name and the scale alone.
        feature_dim: Channels, in place of the scale's own.
        cache_bytes: Memory for generated features; they are generated on first use and again when they fell out.

    Raises:
        ValueError: For an unknown name or scale, naming the nearest that exists.
    """
    if name not in PROFILES:
        raise ValueError(f"no synthetic twin of {name!r}; {nearest(name, PROFILES)}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    if feature_dim is not None and feature_dim < 1:
        raise ValueError(f"feature_dim must be at least 1, got {feature_dim}")
    profile = PROFILES[name]
    size = twin_size(profile, scale)
    manifest = FeatureManifest(
        name=f"synthetic-{name}",
        dim=feature_dim or size.feature_dim,
        stride_frame=profile.stride_frame,
        window_frame=profile.window_frame,
        resize=profile.fixed_points,
    )
    train = draw_videos(profile, profile.train, size.train_videos, size, seed)
    test = draw_videos(profile, profile.test, size.test_videos, size, seed)
    planted = plant(profile, seed)
    store = SyntheticFeatureStore(profile, train + test, planted, manifest, seed=seed, cache_bytes=cache_bytes)
    return DatasetBundle(
        name=name,
        annotations=Annotations(f"synthetic {name}", profile.class_names, {video.id: video for video in train + test}),
        train=DetectionDataset(train, store, manifest, training=True, seed=seed),
        test=DetectionDataset(test, store, manifest),
        class_names=profile.class_names,
        grid=manifest.grid(train[0], store.length(train[0].id)),
        feature_dim=manifest.dim,
        synthetic=True,
        description=_describe(profile, size, scale, manifest.dim),
        metadata={
            "synthetic_scale": scale,
            "synthetic_seed": seed,
            "planted": planted.to_json(),
        },
    )


def planted_sensitivities(bundle: DatasetBundle) -> dict[str, NDArray[np.float64]]:
    """Planted ``mu`` and ``sigma`` of a twin, each (C, 3) with columns class, start, end, in instance lengths.

    Raises:
        ValueError: When the bundle is not a synthetic twin.
    """
    planted: Mapping[str, Any] | None = bundle.metadata.get("planted")
    if planted is None:
        raise ValueError(f"{bundle.name} is not a synthetic twin, so nothing was planted in it")
    return {key: np.asarray(planted[key], dtype=np.float64) for key in ("mu", "sigma")}


def twin_size(profile: BenchmarkProfile, scale: float | str) -> TwinSize:
    """How much of a benchmark a scale (see `make_twin`) stands for.

    Raises:
        ValueError: For a word that is no scale, or a number that is not positive and finite.
    """
    if isinstance(scale, str) and scale in SCALES:
        return {"smoke": profile.smoke, "reduced": profile.reduced, "full": profile.full}[scale]
    try:
        share = float(scale)
    except ValueError:
        raise ValueError(
            f"unknown synthetic scale {scale!r}; {nearest(str(scale), SCALES)}; or give a number"
        ) from None
    if not (math.isfinite(share) and share > 0):
        raise ValueError(f"synthetic scale must be a positive number or one of {', '.join(SCALES)}, got {scale!r}")
    # A training split of one video could not even fill a batch of two.
    train, test = max(2, round(profile.train.videos * share)), max(1, round(profile.test.videos * share))
    return TwinSize(train, test, profile.full_feature_dim)


def _describe(profile: BenchmarkProfile, size: TwinSize, scale: float | str, dim: int) -> str:
    kept = "" if size.active_classes is None else f" ({size.active_classes} of them occur)"
    train, test = profile.train, profile.test
    return (
        f"SYNTHETIC twin of {profile.title}, scale {scale}: generated, not real data; "
        f"{count(profile.num_classes, 'class', 'classes')}{kept}, "
        f"{size.train_videos} {train.subset} and {size.test_videos} {test.subset} videos, {dim} channels. "
        f"Full size: {train.videos} and {test.videos} videos, {profile.full_feature_dim} channels, "
        f"with --synthetic-scale 1.0. Real data: --data-root DIR."
    )
