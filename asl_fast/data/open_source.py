# SPDX-License-Identifier: Apache-2.0
"""One entry to every data set of files, unchecked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from asl_fast.data.hapt import SAMPLE_RATE_HZ, hapt_bundle, read_hapt
from asl_fast.data.manifest import FeatureManifest
from asl_fast.data.source import DataSource
from asl_fast.data.store import InMemoryFeatureStore
from asl_fast.data.video_benchmark import open_video_benchmark


def open_source(
    name: str,
    data_root: str | Path,
    *,
    annotations: str | Path | None = None,
    features: Sequence[str | Path] | None = None,
    manifest: str | None = None,
    samples_per_step: int = 12,
) -> DataSource:
    """A benchmark from its files, as `load_dataset` finds it; nothing is dropped.

    Args:
        name: One of ``BENCHMARKS``.
        data_root: Where its files lie.
        annotations, features, manifest: Of a video benchmark, see `load_video_benchmark`.
        samples_per_step: Raw samples in a grid step (hapt).

    Raises:
        FileNotFoundError, ValueError: when annotations or features are not found or cannot be read; an option that
            hapt does not have.
    """
    if name != "hapt":
        return open_video_benchmark(name, data_root, annotations=annotations, features=features, manifest=manifest)
    for option, value in (("annotations", annotations), ("features", features), ("manifest", manifest)):
        if value is not None:
            raise ValueError(f"hapt is read from the download as it is and has no option {option}")
    bundle = hapt_bundle(read_hapt(data_root), samples_per_step=samples_per_step)
    store = bundle.train.store
    assert isinstance(store, InMemoryFeatureStore)
    layout = FeatureManifest(
        "hapt, raw samples", bundle.feature_dim, samples_per_step, samples_per_step, SAMPLE_RATE_HZ
    )
    root = Path(data_root)
    return DataSource("hapt", bundle.annotations, bundle.train.videos, bundle.test.videos, store, layout, root, (root,))
