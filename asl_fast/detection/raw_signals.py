# SPDX-License-Identifier: Apache-2.0
"""Raw recordings to detect in, made into features as in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.datasets.catalogue import DATASETS
from asl_fast.data.features.array_files import EXTENSIONS
from asl_fast.data.features.feature_files import holds_features
from asl_fast.data.features.packed_store import is_packed
from asl_fast.data.features.rows import Rows, rows_in_memory
from asl_fast.data.features.store import first_beyond
from asl_fast.data.features.text_arrays import TEXTS
from asl_fast.data.signals.files import SignalFile, read_signal, signal_files
from asl_fast.data.signals.outliers import FAR
from asl_fast.data.signals.stamp_units import stamps_too_large, too_large_in_words
from asl_fast.data.signals.time_columns import is_time_name
from asl_fast.data.transform import FeatureTransform

Found = tuple[Sequence[str], Callable[[str], Rows]]


def raw_signals(paths: Sequence[Path], dataset: Mapping[str, Any], notes: list[str]) -> Found | None:
    """Find raw recordings, by name, and what reads one of them as features.

    These are tables (``.csv``, ``.tsv``), whose time stamps, where they have some, are brought to the rate of training,
    and recordings as the data set of the run has them: a folder, a zip, or one text file of it.

    Args:
        paths: What was given; a run on raw signals has one.
        dataset: What the run knows of its data set.
        notes: Takes what was assumed, in words, when a recording is opened.

    Returns:
        None where the path holds arrays, which are raw recordings or features by their width.

    Raises:
        FileNotFoundError, ValueError: When there is no recording, or none that can be read.
    """
    path = paths[0]
    if _holds_tables(path):
        return _tables(path, dataset, notes)
    if path.suffix.lower() in EXTENSIONS or is_packed(path) or (path.is_dir() and holds_features(path)):
        return None
    read_recordings = DATASETS[dataset["name"]].read_recordings if dataset["name"] in DATASETS else None
    if read_recordings is None:
        raise ValueError(f"{path}: recordings of signals are {', '.join(EXTENSIONS)} files, or a folder of such")
    transform = FeatureTransform.from_state(dataset["transform"])
    single = path.is_file() and path.suffix.lower() == ".txt"
    signals = read_recordings(path.parent if single else path)
    if single:
        wanted = path.stem.removeprefix("acc_").removeprefix("gyro_")
        signals = {name: signal for name, signal in signals.items() if name == wanted}
    # The data set has all its channels; a detector may have learned from the first of them alone.
    return tuple(signals), lambda name: rows_in_memory(transform(signals[name][:, : transform.num_raw]))


def _holds_tables(path: Path) -> bool:
    """Whether this is a table, or a folder whose recordings are tables."""
    if path.is_dir() and not is_packed(path) and holds_features(path):
        return all(file.suffix.lower() in TEXTS for file in signal_files(path).values())
    return path.is_file() and path.suffix.lower() in TEXTS


def _tables(path: Path, dataset: Mapping[str, Any], notes: list[str]) -> Found:
    transform, rate_hz = FeatureTransform.from_state(dataset["transform"]), float(dataset["grid"]["fps"])
    files = signal_files(path)

    def opened(name: str) -> Rows:
        try:
            signal, said = read_signal(files[name]).in_order_of(transform.names or (), name, "training")
            if transform.names is None and signal.names is not None:
                said = "the run does not know the names of its columns: those of tables are taken by their places"
            _check_learned(transform.names or (), signal.names or ())
            if (unit := _in_another_unit(signal, rate_hz, str(files[name]))) is not None:
                notes.append(unit)
            features = transform(signal.even(rate_hz))
            for note in (said, far_from_training(features, str(files[name]))):
                if note is not None and note not in notes:
                    notes.append(note)
            return rows_in_memory(features)
        except ValueError as error:
            where = str(files[name])
            raise ValueError(str(error) if where in str(error) else f"{where}: {error}") from None

    return tuple(files), opened


def _in_another_unit(signal: SignalFile, rate_hz: float, where: str) -> str | None:
    """Say that time stamps look like another unit than seconds, beside the rate of training; None where they do not."""
    rate = signal.likely_rate_hz
    factor = None if rate is None else stamps_too_large(rate, rate_hz)
    if factor is None:
        return None
    return (
        f"{where}: {rate:.6g} samples a second where training had {rate_hz:.6g}: {too_large_in_words(factor)}, and the "
        "times of its detections are wrong as much; say their unit in the name of their column, as time_ms"
    )


def _check_learned(learned: Sequence[str], found: Sequence[str]) -> None:
    """Refuse a run of before such names were known, whose channels hold a column that is read as time stamps now."""
    if stamps := [name for name in learned if is_time_name(name) and name not in found]:
        raise ValueError(
            f"the run learned from column {stamps[0]!r} as if it were measured, but it holds time stamps: train it anew"
        )


def far_from_training(features: NDArray[np.float32], where: str) -> str | None:
    """Say where a value of normalised features is beyond all that training can have held; None where none is."""
    place = first_beyond(features, FAR) if features.size else None
    if place is None:
        return None
    return f"{where}: a value at step {place[0]} is {features[place]:.3g} standard deviations from those of training"
