# SPDX-License-Identifier: Apache-2.0
"""One way to open every data set that is known by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from asl_fast.data.bundle import DatasetBundle
from asl_fast.data.datasets.catalogue import get_dataset
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.source import DataSource

_CROP_OPTIONS = ("max_length", "crop_ratio", "truncation_threshold")


def load_dataset(
    name: str,
    data_root: str | Path | None = None,
    *,
    synthetic_scale: float | str = "reduced",
    seed: int = 0,
    **options: Any,
) -> DatasetBundle:
    """Load a benchmark by name: from ``data_root`` where given, else its synthetic twin.

    Args:
        name: One of ``DATASETS``.
        data_root: Where the data lie; it may be left out where there is a twin.
        synthetic_scale: Size of the twin: ``smoke``, ``reduced``, ``full``, or a share of the benchmark's size.
        seed: Seed of the twin and of the training crops.
        options: ``max_length``, ``crop_ratio`` and ``truncation_threshold`` of the training crops; the rest go to
            `load_hapt` or `load_video_benchmark` (``strict`` to both), and none may be left for a twin.

    Raises:
        ValueError: For an unknown name, or a data set without a twin and without ``data_root``.
        TypeError: For an option that the loader does not have.
    """
    entry = get_dataset(name)
    crop = {key: options.pop(key) for key in _CROP_OPTIONS if key in options}
    if data_root is not None:
        bundle = entry.load(data_root, seed=seed, **options)
    elif not entry.has_twin:
        raise ValueError(f"{name} has no synthetic twin: give data_root, {entry.data_root}")
    elif options:
        raise TypeError(f"{name} without data_root is synthetic and has no option {', '.join(options)}")
    else:
        # Imported here so that reading real data needs no generator.
        from asl_fast.data.synthetic.twin import make_twin

        bundle = make_twin(name, scale=synthetic_scale, seed=seed)
    return replace(bundle, train=bundle.train.with_options(seed=seed, **crop)) if crop else bundle


def open_source(
    name: str,
    data_root: str | Path,
    *,
    annotations: str | Path | None = None,
    features: Sequence[str | Path] | None = None,
    manifest: str | FeatureManifest | None = None,
    strict: bool = False,
    **settings: Any,
) -> DataSource:
    """Open a benchmark's files, as `load_dataset` finds them; nothing is dropped.

    Args:
        name: One of ``DATASETS``.
        data_root: Where its files lie.
        annotations: Of a data set with feature files, see `load_video_benchmark`.
        features: Likewise.
        manifest: Likewise.
        strict: Stop at the first annotation or recording that cannot be used.
        settings: Those that its entry names.

    Raises:
        FileNotFoundError, ValueError: When annotations or features are not found or cannot be read; for an option that
            the data set does not have.
    """
    entry = get_dataset(name)
    files = entry.check_options(annotations=annotations, features=features, manifest=manifest)
    return entry.open(data_root, **files, strict=strict, **settings)
