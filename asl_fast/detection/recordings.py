# SPDX-License-Identifier: Apache-2.0
"""Recordings to detect in: feature files or raw signals, prepared as the run's training data were."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from asl_fast.data.annotations.video import Video
from asl_fast.data.dataset import Sample
from asl_fast.data.datasets.catalogue import get_dataset
from asl_fast.data.features.array_files import EXTENSIONS, read_array
from asl_fast.data.features.file_store import ConcatenatedFeatureStore, open_store
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.features.packed_store import is_packed
from asl_fast.data.features.store import check_features
from asl_fast.data.grid import FeatureGrid
from asl_fast.data.transform import FeatureTransform
from asl_fast.files import number, read_json

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Recordings:
    """Recordings by name, read when asked for.

    Attributes:
        names: Names of the recordings, sorted.
        load: Reads a recording by name into a sample, whose segments and labels are empty.
    """

    names: tuple[str, ...]
    load: Callable[[str], Sample]

    def __len__(self) -> int:
        return len(self.names)


def open_recordings(
    paths: Sequence[Path],
    dataset: Mapping[str, Any],
    *,
    fps: float | None = None,
    durations_sec: Mapping[str, float] | None = None,
) -> Recordings:
    """Find the recordings at the given paths.

    Args:
        paths: One feature file, one folder of feature files, one .h5 with an entry per recording, or one packed store;
            several paths are extractors to be put side by side, in training order. Runs on raw signals (hapt) also take
            the recordings as downloaded: their folder, the zip, or one ``acc_*.txt``.
        dataset: What the run knows of its data set.
        fps: Frames per second of the recordings; None means those of the training data.
        durations_sec: Lengths by name; None derives them from the number of feature vectors.

    Raises:
        FileNotFoundError: When a path does not exist or holds nothing to read.
        ValueError: Naming the file, for features that the detector cannot take.
    """
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
    arrays = _raw_signals(paths, dataset) if dataset["transform"] is not None else None
    if arrays is None:
        arrays = _features(paths, dataset)
    names, read = arrays
    if not names:
        raise FileNotFoundError(f"{', '.join(map(str, paths))}: no recording found")
    prepare = _preparation(dataset, fps, durations_sec or {})
    return Recordings(tuple(sorted(names)), lambda name: prepare(name, read(name)))


def read_durations(path: Path) -> dict[str, float]:
    """Read lengths of recordings in seconds by name, from a JSON file.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: Naming the file, when it holds anything else.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f'{path} must be JSON like {{"name": seconds}}, found {content!r:.80}')
    return {name: number(seconds, f"{path}, {name!r}") for name, seconds in content.items()}


def _raw_signals(
    paths: Sequence[Path], dataset: Mapping[str, Any]
) -> tuple[Sequence[str], Callable[[str], Array]] | None:
    """Find recordings as downloaded, normalised as in training; None where the path holds arrays instead."""
    path = paths[0]
    if path.suffix.lower() in EXTENSIONS or is_packed(path) or (path.is_dir() and _arrays_in(path)):
        return None
    transform = FeatureTransform.from_state(dataset["transform"])
    single = path.is_file() and path.suffix.lower() == ".txt"
    read_recordings = get_dataset(dataset["name"]).read_recordings
    assert read_recordings is not None, "only data sets of raw recordings normalise them"
    signals = read_recordings(path.parent if single else path)
    if single:
        wanted = path.stem.removeprefix("acc_").removeprefix("gyro_")
        signals = {name: signal for name, signal in signals.items() if name == wanted}
    return tuple(signals), lambda name: transform(signals[name])


def _features(paths: Sequence[Path], dataset: Mapping[str, Any]) -> tuple[Sequence[str], Callable[[str], Array]]:
    """Find recordings in files of arrays; those of raw signals are normalised as in training."""
    state = dataset["transform"]
    transform = None if state is None else FeatureTransform.from_state(state)

    def checked(array: Array, where: str) -> Array:
        if transform is not None and array.ndim == 2 and array.shape[1] == transform.num_channels:
            try:
                array = transform(array)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from None
        check_features(array, dataset["feature_dim"], where)
        return array

    prefix = (dataset["manifest"] or {}).get("prefix", "")
    if len(paths) == 1 and paths[0].is_file() and paths[0].suffix.lower() not in (".h5", ".hdf5"):
        path = paths[0]
        return (path.stem.removeprefix(prefix),), lambda name: checked(read_array(path), str(path))
    if len(paths) == 1 and paths[0].is_dir() and not is_packed(paths[0]):
        files = {path.stem.removeprefix(prefix): path for path in _arrays_in(paths[0])}
        return tuple(files), lambda name: checked(read_array(files[name]), str(files[name]))
    stores = [open_store(path) for path in paths]
    if prefix and any(name.startswith(prefix) for name in stores[0].names):
        stores = [open_store(path, prefix=prefix) for path in paths]
    joined = stores[0] if len(stores) == 1 else ConcatenatedFeatureStore(stores)
    names = [name for name in stores[0].video_ids if name in joined]
    where = ", ".join(map(str, paths))
    return names, lambda name: checked(joined.load(name), f"{where}, {name}")


def _arrays_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS)


def _preparation(
    dataset: Mapping[str, Any], fps: float | None, durations_sec: Mapping[str, float]
) -> Callable[[str, Array], Sample]:
    """Make what turns a (T, D) array into a sample with its grid and duration."""
    typical = FeatureGrid(**dataset["grid"])
    manifest = None if dataset["manifest"] is None else FeatureManifest(**dataset["manifest"])

    def prepare(name: str, features: Array) -> Sample:
        duration = durations_sec.get(name)
        if manifest is None:
            grid = typical if fps is None else replace(typical, fps=fps)
            covered = grid.covered_sec(len(features))
        else:
            if manifest.stride_frame is None and duration is None:
                raise ValueError(f"{name}: these features have no fixed stride, so its length is needed: --durations")
            video = Video(name, "", duration or 1.0, np.empty((0, 2)), np.empty(0, np.int64), fps or typical.fps)
            covered = manifest.extracted_grid(video, len(features)).covered_sec(len(features))
            features, grid = manifest.prepare(video, features)
        return Sample(
            video_id=name,
            features=torch.tensor(features, dtype=torch.float32),
            segments=torch.empty(0, 2),
            labels=torch.empty(0, dtype=torch.int64),
            duration_sec=covered if duration is None else duration,
            grid=grid,
        )

    return prepare
