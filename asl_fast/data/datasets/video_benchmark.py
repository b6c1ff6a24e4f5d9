# SPDX-License-Identifier: Apache-2.0
"""From the files of a video benchmark to a bundle.

Layout, the one that ActionFormer's archives unpack to (``annotations`` and ``features`` can also be named explicitly)::

    DATA_ROOT/annotations/<one of the benchmark's annotation files>    or the file in DATA_ROOT itself
    DATA_ROOT/features/<one file per video>                            or DATA_ROOT/<extractor>_features/, or one .h5
    DATA_ROOT/<any name>/packed.json                                   a packed store, used in their place
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asl_fast.data.bundle import DatasetBundle
from asl_fast.data.datasets.benchmarks import VIDEO_BENCHMARKS, annotation_file, load_annotations
from asl_fast.data.features.manifest import MANIFESTS, FeatureManifest, combined_manifest
from asl_fast.data.features.manifest_file import read_manifest
from asl_fast.data.features.opening import open_features
from asl_fast.data.features.packed_store import PackedFeatureStore, find_packed, is_packed
from asl_fast.data.features.store import NamedFeatureStore
from asl_fast.data.source import DataSource


def load_video_benchmark(
    name: str,
    data_root: str | Path,
    *,
    annotations: str | Path | None = None,
    features: str | Path | Sequence[str | Path] | None = None,
    manifest: str | FeatureManifest | None = None,
    store: Mapping[str, Any] | None = None,
    verify: bool = True,
    seed: int = 0,
    strict: bool = False,
) -> DatasetBundle:
    """Read a video benchmark from its files.

    Args:
        name: One of ``VIDEO_BENCHMARKS``.
        data_root: Folder with annotations and features, see the layout above; or a packed store beside the annotations.
        annotations: Annotation file, where it is not at its usual place.
        features: Feature folder or ``.h5`` file, or several to concatenate, where they are not at their usual place.
        manifest: Name in ``MANIFESTS`` (several joined by ``+``), a ``.json`` file (see `read_manifest`) or a manifest
            of one's own; None takes the benchmark's, and among several the one whose width fits.
        store: Options of `open_store` (``prefix``, ``suffix``, ``extension``, ``key``, ``transposed``).
        verify: Read every feature file once, so that damaged ones are found before training begins.
        seed: Seed of the training crops.
        strict: Stop at the first unusable video instead of skipping it with a counted warning.

    Raises:
        FileNotFoundError: When annotations or features are not found.
        ValueError: When features have a width that no manifest has, or no video is left; when strict, for any bad
            video.
    """
    benchmark = VIDEO_BENCHMARKS[name]
    source = open_video_benchmark(
        name,
        data_root,
        annotations=annotations,
        features=features,
        manifest=manifest,
        store=store,
        strict=strict,
    )
    return source.bundle(
        max_length=benchmark.max_length,
        truncation_threshold=benchmark.truncation_threshold,
        verify=verify,
        seed=seed,
        strict=strict,
        place=Path(data_root),
    )


def open_video_benchmark(
    name: str,
    data_root: str | Path,
    *,
    annotations: str | Path | None = None,
    features: str | Path | Sequence[str | Path] | None = None,
    manifest: str | FeatureManifest | None = None,
    store: Mapping[str, Any] | None = None,
    strict: bool = False,
) -> DataSource:
    """Open annotations, split and features of a video benchmark, unchecked; arguments as of `load_video_benchmark`.

    Raises:
        FileNotFoundError, ValueError: As `load_video_benchmark`, but for single videos.
    """
    benchmark = VIDEO_BENCHMARKS[name]
    root = Path(data_root)
    if not root.is_dir():
        raise FileNotFoundError(f"{name}: data root {root} is not a folder")
    if is_packed(root):
        features, root = features or root, root.absolute().parent
    read = load_annotations(name, annotations or root, strict=strict)
    paths = _feature_paths(name, root, features)
    layout, source = _features(name, paths, manifest, dict(store or {}))
    train, test = (
        read.subset(next((subset for subset in read.subsets if subset.lower() in names), names[0]))
        for names in (benchmark.train, benchmark.test)
    )
    file = annotation_file(name, annotations or root)
    return DataSource(name, read, train, test, source, layout, file, tuple(paths))


def _feature_paths(name: str, root: Path, features: str | Path | Sequence[str | Path] | None) -> list[Path]:
    if features is not None:
        return [Path(features)] if isinstance(features, (str, Path)) else [Path(path) for path in features]
    paths = find_features(root)
    if not paths:
        raise FileNotFoundError(
            f"{name}: no features in {root}; looked for features/, features.h5, folders named *_features and "
            "packed stores"
        )
    return paths


def _features(
    name: str, paths: Sequence[Path], manifest: str | FeatureManifest | None, options: dict[str, Any]
) -> tuple[FeatureManifest, NamedFeatureStore]:
    if isinstance(manifest, str) and manifest.endswith(".json"):
        # How files are read has to be known before their width is.
        reading = read_manifest(manifest, 1).store_options | options
        manifest = read_manifest(manifest, open_features(paths, reading).dim)
    known = [manifest] if manifest is not None else list(VIDEO_BENCHMARKS[name].manifests)
    candidates = [entry if isinstance(entry, FeatureManifest) else combined_manifest(entry) for entry in known]
    reading = candidates[0].store_options | options
    if len(paths) > 1 and manifest is None:
        # Concatenated in the manifest's order, not the folders'.
        order = [MANIFESTS[part].dim for part in known[0].split("+")] if isinstance(known[0], str) else []
        dims = {path: open_features([path], reading).dim for path in paths}
        paths = sorted(paths, key=lambda path: order.index(dims[path]) if dims[path] in order else len(order))
    source = open_features(paths, reading)
    if isinstance(source, PackedFeatureStore) and source.manifest is not None:
        if manifest is not None and candidates[0] != source.manifest:
            raise ValueError(
                f"{name}: {source.folder} was packed with {source.manifest}, asked for is {candidates[0]}; leave the "
                "manifest out, or pack again"
            )
        return source.manifest, source
    fitting = next((candidate for candidate in candidates if candidate.dim == source.dim), None)
    if fitting is None:
        widths = ", ".join(f"{candidate.name} ({candidate.dim})" for candidate in candidates)
        raise ValueError(
            f"{name}: features in {', '.join(map(str, paths))} have width {source.dim}, which fits none of {widths}; "
            'give a manifest, in which "layout": "CT" reads files that hold (channels, time)'
        )
    return fitting, source


def find_features(root: Path) -> list[Path]:
    """Feature folders or files of a data root: a packed store, else ``features``, an .h5, every ``*_features``.

    A ``features`` folder that holds only folders stands for these, one per extractor.

    Raises:
        ValueError: When there are several packed stores.
    """
    packed = find_packed(root)
    if packed is not None:
        return [packed]
    folder = root / "features"
    if folder.is_dir():
        inside = sorted(folder.iterdir())
        folders = [path for path in inside if path.is_dir()]
        return folders if folders and len(folders) == len(inside) else [folder]
    files = [root / f"features{extension}" for extension in (".h5", ".hdf5")]
    return [file for file in files if file.is_file()] or sorted(
        path for path in root.glob("*_features") if path.is_dir()
    )
