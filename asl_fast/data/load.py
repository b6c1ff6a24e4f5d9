# SPDX-License-Identifier: Apache-2.0
"""One entry to every data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from asl_fast.data.bundle import DatasetBundle
from asl_fast.data.datasets.benchmarks import VIDEO_BENCHMARKS
from asl_fast.data.datasets.hapt import SAMPLE_RATE_HZ, hapt_bundle, load_hapt, read_hapt
from asl_fast.data.datasets.video_benchmark import load_video_benchmark, open_video_benchmark
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.features.store import InMemoryFeatureStore
from asl_fast.data.source import DataSource

BENCHMARKS = (*VIDEO_BENCHMARKS, "hapt")
_CROP_OPTIONS = ("max_length", "crop_ratio", "truncation_threshold")


def load_dataset(
    name: str,
    data_root: str | Path | None = None,
    *,
    synthetic_scale: float | str = "reduced",
    seed: int = 0,
    **options: Any,
) -> DatasetBundle:
    """A benchmark by name: from ``data_root`` where given, else its synthetic twin.

    Args:
        name: One of ``BENCHMARKS``.
        data_root: Where the data lie. HAPT needs it; the others run on their twin without it.
        synthetic_scale: Size of the twin: ``smoke``, ``reduced``, ``full``, or a share of the benchmark's size.
        seed: Seed of the twin and of the training crops.
        options: ``max_length``, ``crop_ratio`` and ``truncation_threshold`` of the training crops; the rest go to
            `load_hapt` or `load_video_benchmark` (``strict`` to both), and none may be left for a twin.

    Raises:
        ValueError: for an unknown name, or HAPT without ``data_root``.
        TypeError: for an option that the loader does not have.
    """
    if name not in BENCHMARKS:
        raise ValueError(f"unknown data set {name!r}; the data sets are {', '.join(BENCHMARKS)}")
    crop = {key: options.pop(key) for key in _CROP_OPTIONS if key in options}
    if name == "hapt":
        if data_root is None:
            raise ValueError("hapt has no synthetic twin: give data_root, the UCI HAPT zip or its unpacked folder")
        bundle = load_hapt(data_root, seed=seed, **options)
    elif data_root is None:
        # Imported here so that reading real data needs no generator.
        from asl_fast.data.synthetic.twin import make_twin

        if options:
            raise TypeError(f"{name} without data_root is synthetic and has no option {', '.join(options)}")
        bundle = make_twin(name, scale=synthetic_scale, seed=seed)
    else:
        bundle = load_video_benchmark(name, data_root, seed=seed, **options)
    return replace(bundle, train=bundle.train.with_options(seed=seed, **crop)) if crop else bundle


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
