# SPDX-License-Identifier: Apache-2.0
"""Recordings to detect in: feature files or raw signals, prepared as the run's training data were."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from asl_fast.data.annotations.video import Video
from asl_fast.data.features.array_files import NAMELESS
from asl_fast.data.features.feature_files import feature_files
from asl_fast.data.features.hdf5_files import HDF5
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.features.opening import JOIN, nameless_message, open_features, rows_of_features
from asl_fast.data.features.packed_store import is_packed
from asl_fast.data.features.reading import FeatureReading
from asl_fast.data.features.rows import Rows, checked_rows, open_rows, rows_in_memory
from asl_fast.data.grid import FeatureGrid
from asl_fast.data.transform import FeatureTransform
from asl_fast.detection.rates import Rates, check_rates, far_rate, known_rates, measured_rate
from asl_fast.detection.raw_signals import far_from_training, raw_signals
from asl_fast.training.inference import Recording
from asl_fast.wording import examples

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Recordings:
    """Recordings by name, opened when asked for.

    Attributes:
        names: Names of the recordings, sorted.
        open: Opens a recording by name, whose features are then read in parts or all at once.
        notes: What was assumed, or does not fit together, in words; more come with what is opened.
    """

    names: tuple[str, ...]
    open: Callable[[str], Recording]
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.names)


def open_recordings(
    paths: Sequence[Path],
    dataset: Mapping[str, Any],
    *,
    fps: Rates | None = None,
    durations_sec: Mapping[str, float] | None = None,
    reading: FeatureReading | None = None,
) -> Recordings:
    """Find the recordings at the given paths.

    Args:
        paths: One feature file, one folder of feature files, one .h5 with an entry per recording, or one packed store;
            several paths are extractors to be put side by side, in training order. Runs on raw signals also take
            recordings as their data set has them, and tables with time stamps (see `raw_signals`).
        dataset: What the run knows of its data set.
        fps: Frames per second of the recordings, of all or by name. Otherwise a recording that training knew has the
            rate that it had there; any other one that of the training videos if it was the same for all, or the one
            that its length in ``durations_sec`` shows.
        durations_sec: Lengths by name; None derives them from the number of feature vectors.
        reading: How features lie in their files, where that is not as in training.

    Raises:
        FileNotFoundError: When a path does not exist or holds nothing to read.
        ValueError: Naming the file, for features that the detector cannot take; naming recordings whose frame rate is
            not known.
    """
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
    notes: list[str] = []
    arrays = raw_signals(paths, dataset, notes) if dataset["transform"] is not None else None
    if arrays is None:
        arrays = _features(paths, dataset, reading or FeatureReading(), notes)
    names, rows_of = arrays
    if not names:
        raise FileNotFoundError(f"{', '.join(map(str, paths))}: no recording found")
    names, durations = tuple(sorted(names)), durations_sec or {}
    _check_names(names, "--fps", fps if isinstance(fps, Mapping) else None)
    _check_names(names, "--durations", durations_sec)
    rates = known_rates(names, dataset, fps)
    manifest = None if dataset["manifest"] is None else FeatureManifest(**dataset["manifest"])
    if manifest is None:
        prepare = _on_a_grid(FeatureGrid(**dataset["grid"]), rates, durations, notes)
    else:
        timed = manifest.stride_frame is not None
        if timed and manifest.fps is None:
            check_rates(names, rates, dataset, durations)
            if fps is None and "frame_rates" not in dataset:
                notes.append(
                    f"the run does not say which frame rates its videos had; {dataset['grid']['fps']:g} is assumed for "
                    "all recordings, --fps gives others"
                )
        elif fps is not None and (not timed or manifest.is_in_seconds):
            notes.append("--fps changes nothing: this run's features are counted in seconds or spread over a recording")
            fps = None
        prepare = _by_manifest(manifest, rates, fps, durations, notes)
    if fps is not None and (far := far_rate(fps, dataset)) is not None:
        notes.append(far)
    if isinstance(fps, Mapping) and (without := [name for name in names if name not in fps]):
        notes.append(f"--fps has no rate for {examples(without)}: as in training")
    return Recordings(names, lambda name: prepare(name, rows_of(name)), notes)


def _check_names(names: Sequence[str], option: str, given: Mapping[str, float] | None) -> None:
    """Refuse a file by names of which none is that of a recording."""
    if given and not given.keys() & set(names):
        raise ValueError(
            f"{option} knows {examples(list(given))}, but none of the recordings, which are {examples(names)}; their "
            "names are those of the feature files, without what is around them"
        )


def _features(
    paths: Sequence[Path], dataset: Mapping[str, Any], reading: FeatureReading, notes: list[str]
) -> tuple[Sequence[str], Callable[[str], Rows]]:
    """Find recordings in files of arrays; those of raw signals are normalised as in training."""
    state = dataset["transform"]
    transform = None if state is None else FeatureTransform.from_state(state)
    known = FeatureManifest(**dataset["manifest"]) if dataset["manifest"] else FeatureManifest("", 1, None)
    layout = reading.applied(known)
    # What training did not have to say is as it was there, and not found out anew.
    layout = replace(layout, layout=layout.layout or "TC")

    def checked(rows: Rows, where: str) -> Rows:
        if transform is not None:
            # Several raw samples become one step, so that parts of the one are no parts of the other.
            rows = rows_in_memory(normalised(rows.all(), where))
        return checked_rows(rows, dataset["feature_dim"], where)

    def normalised(array: Array, where: str) -> Array:
        if transform is None or array.ndim != 2 or array.shape[1] != transform.num_raw:
            return array
        try:
            features = transform(array)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        if (far := far_from_training(features, where)) is not None:
            notes.append(far)
        return features

    def check_used(files: Mapping[str, Path]) -> None:
        """Refuse what was said of files and is true of none of them."""
        for option, fits in (("prefix", str.startswith), ("suffix", str.endswith)):
            text = reading.given.get(option, "")
            if not any(fits(name, text) for name in files):
                raise ValueError(
                    f"--feature-{option} {text}: none of the files has it, which are {examples(list(files))}"
                )
        if "key" in reading.given and files and all(path.suffix.lower() in NAMELESS for path in files.values()):
            raise ValueError(nameless_message(reading.given["key"], str(next(iter(files.values())))))

    def opened(path: Path) -> Rows:
        return checked(rows_of_features(path, layout.key, transposed=layout.layout == "CT"), str(path))

    def short(name: str) -> str:
        return name.removeprefix(layout.prefix).removesuffix(layout.suffix)

    streams = JOIN in layout.prefix or JOIN in layout.suffix
    if len(paths) == 1 and paths[0].is_file() and paths[0].suffix.lower() not in HDF5:
        path = paths[0]
        check_used({path.stem: path})
        return (short(path.stem),), lambda name: opened(path)
    if len(paths) == 1 and paths[0].is_dir() and not is_packed(paths[0]) and not streams:
        found = feature_files(paths[0], layout.extension)
        if found:
            check_used(found)
        files = {short(name): path for name, path in found.items()}
        return tuple(files), lambda name: opened(files[name])
    told = "key" in reading.given
    store = open_features(paths, layout.store_options, key_is_told=told)
    if not store.video_ids:
        store = open_features(paths, replace(layout, prefix="", suffix="").store_options, key_is_told=told)
    names = [name for name in store.video_ids if name in store]
    where = ", ".join(map(str, paths))
    return names, lambda name: checked(open_rows(store, name), f"{where}, {name}")


def _on_a_grid(
    typical: FeatureGrid, rates: Mapping[str, float], durations_sec: Mapping[str, float], notes: list[str]
) -> Callable[[str, Rows], Recording]:
    """Make what turns features into a recording, where all training videos lay on one grid."""

    def prepare(name: str, rows: Rows) -> Recording:
        grid = replace(typical, fps=rates.get(name, typical.fps))
        return _recording(name, rows, grid, grid.covered_sec(rows.num_steps), durations_sec.get(name), notes)

    return prepare


def _by_manifest(
    manifest: FeatureManifest,
    rates: Mapping[str, float],
    given: Rates | None,
    durations_sec: Mapping[str, float],
    notes: list[str],
) -> Callable[[str, Rows], Recording]:
    """Make what turns features into a recording, by a manifest and each recording's own rate."""
    timed = manifest.stride_frame is not None
    if timed and manifest.fps is not None and not manifest.is_in_seconds and given is not None:
        fallback = manifest.fps
        own = replace(manifest, fps=None)  # features of recordings at another rate than those of training
    else:
        fallback, own = None, manifest

    def prepare(name: str, rows: Rows) -> Recording:
        duration = durations_sec.get(name)
        if not timed and duration is None:
            raise ValueError(f"{name}: these features have no fixed stride, so its length is needed: --durations")
        rate = rates.get(name)
        if fallback is not None and isinstance(given, Mapping) and name not in given:
            rate = fallback
        if rate is None and timed and own.fps is None:
            assert duration is not None, "checked before anything was read"
            rate = measured_rate(rows.num_steps, duration, own)
        video = Video(name, "", duration or 1.0, np.empty((0, 2)), np.empty(0, np.int64), rate)
        covered = own.extracted_grid(video, rows.num_steps).covered_sec(rows.num_steps)
        if own.resize is not None:
            features, grid = own.prepare(video, rows.all())
            return _recording(name, rows_in_memory(features), grid, covered, duration, notes)
        return _recording(name, rows, own.grid(video, rows.num_steps), covered, duration, notes)

    return prepare


def _recording(
    name: str, rows: Rows, grid: FeatureGrid, covered_sec: float, duration_sec: float | None, notes: list[str]
) -> Recording:
    if duration_sec is not None and abs(covered_sec - duration_sec) > max(3.0, 0.1 * duration_sec):
        notes.append(
            f"{name}: its features cover {covered_sec:.1f} s at {grid.fps:g} frames per second, but --durations says "
            f"{duration_sec:.1f} s; is its rate {grid.fps * covered_sec / duration_sec:.3g}? --fps sets it"
        )
    return Recording(
        video_id=name,
        num_steps=rows.num_steps,
        read=lambda start, stop: torch.tensor(rows.read(start, stop), dtype=torch.float32),
        duration_sec=covered_sec if duration_sec is None else duration_sec,
        grid=grid,
    )
