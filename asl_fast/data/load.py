# SPDX-License-Identifier: Apache-2.0
"""One entry to every data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from asl_fast.data.benchmarks import VIDEO_BENCHMARKS
from asl_fast.data.hapt import load_hapt
from asl_fast.data.types import DatasetBundle
from asl_fast.data.video_benchmark import load_video_benchmark

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
        from asl_fast.data.synthetic import make_twin

        if options:
            raise TypeError(f"{name} without data_root is synthetic and has no option {', '.join(options)}")
        bundle = make_twin(name, scale=synthetic_scale, seed=seed)
    else:
        bundle = load_video_benchmark(name, data_root, seed=seed, **options)
    return replace(bundle, train=bundle.train.with_options(seed=seed, **crop)) if crop else bundle
