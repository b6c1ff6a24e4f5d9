# SPDX-License-Identifier: Apache-2.0
"""One's own recordings of sensors or joints: an annotation file and raw signals, from which everything else follows."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.annotations.activitynet import read_database
from asl_fast.data.annotations.columns import parse_columns
from asl_fast.data.annotations.problems import Problems
from asl_fast.data.annotations.video import Video
from asl_fast.data.channels import Centre, ChannelGroup, Preparation, parse_channels, read_channels
from asl_fast.data.custom.data import AnnotationTable, OwnData, own_name, read_own_annotations
from asl_fast.data.custom.decision import Decision
from asl_fast.data.custom.recording_findings import climbing_findings, in_other_units, own_rates, stamp_findings
from asl_fast.data.custom.split import SplitRule, split
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.features.store import InMemoryFeatureStore, NamedFeatureStore
from asl_fast.data.signals.files import SignalFile, read_signal, signal_files
from asl_fast.data.signals.mapped_store import MappedSignalStore
from asl_fast.data.signals.outliers import note_outliers
from asl_fast.data.source import DataSource
from asl_fast.data.transform import FeatureTransform
from asl_fast.files import number, read_json
from asl_fast.wording import count, examples, say_once

logger = logging.getLogger(__name__)

SIGNALS_NAME = "signals.json"
"""Beside the recordings of a folder: ``{"rate_hz": 50, "channels": [{"kind": "triaxial", "size": 6}]}``."""
_STEPS_OF_SHORT = 12
_MOST_SAMPLES = 4096


@dataclass(frozen=True)
class SignalReading:
    """How one's own recordings are read and prepared.

    Attributes:
        rate_hz: Samples per second; None takes what signals.json says, or the usual distance of time stamps.
        channels: Groups of channels in the words of `read_channels`; None takes what signals.json says, or knows of no
            directions.
        samples_per_step: Samples in one grid step; None derives it from the lengths of the actions.
        centre: See `Preparation`.
        velocities: Likewise.
        clip_sd: See `FeatureTransform`.
    """

    rate_hz: float | None = None
    channels: str | None = None
    samples_per_step: int | None = None
    centre: Centre = "none"
    velocities: bool = False
    clip_sd: float = 0.0


def open_own_signals(
    annotations: str | Path,
    signals: str | Path,
    *,
    name: str | None = None,
    reading: SignalReading | None = None,
    table: AnnotationTable | None = None,
    rule: SplitRule | None = None,
    strict: bool = False,
) -> OwnData:
    """Annotations and recordings as a data set; times of annotations count from the first sample.

    Args:
        annotations: As of `open_own_data`; videos without a duration have that of their recording.
        signals: One recording, or a folder of them, named as in the annotations.
        name: Name of the data set; None takes the annotation file's.
        reading: How recordings are read and prepared.
        table: What the annotation file does not say by itself.
        rule: How to split; None finds out.
        strict: Stop at the first unusable annotation or recording.

    Raises:
        FileNotFoundError: When a path is not there, or no recording has the name of a video.
        ValueError: Naming the file, for what cannot be read or does not fit together.
    """
    name, reading, path = name or own_name(annotations), reading or SignalReading(), Path(signals)
    problems = Problems(name, strict=strict)
    files = signal_files(path)
    found, names = _in_one_order(_read_files(files, problems), path)
    stated = _stated(path)
    rates, told = own_rates(found), reading.rate_hz or stated.get("rate_hz")
    odd = in_other_units(rates, told if isinstance(told, (int, float)) and told > 0 else None)
    like = [each.usual_rate_hz for key, each in found.items() if key not in odd]
    usual = [each for each in like if each is not None]
    rate, rate_reason = _rate(found, usual, reading.rate_hz, stated.get("rate_hz"), path)
    arrays = _even(found, rate, path, problems)
    width = _one_width(arrays, path, problems)
    note_outliers({key: found[key].values for key in arrays}, files, problems)
    groups, group_reason = _groups(width, reading.channels, stated.get("channels"), path)
    table = table or AnnotationTable()
    listed = list(read_database(annotations, None if table.columns is None else parse_columns(table.columns)))
    if not arrays.keys() & set(listed):
        raise FileNotFoundError(
            f"{path}: no recording has the name of a video in {annotations}; recordings are called "
            f"{examples(sorted(arrays))}, videos {examples(listed)}"
        )
    lengths = {key: len(array) / rate for key, array in arrays.items()}
    # Any length will do for recordings of no use: what is wrong with them has been said, and they are left out below.
    lengths |= dict.fromkeys(problems.skipped, 1.0)
    read, class_reason = read_own_annotations(annotations, name, table=table, strict=strict, lengths_sec=lengths)
    unusable = {key: reason for key, reason in problems.reasons.items() if key in listed}
    read = replace(read, videos={key: video for key, video in read.videos.items() if key not in unusable})
    present = [video for video in read.videos.values() if video.id in arrays]
    problems.summarise()
    learning, scored, named, split_reason = split(read, present, rule or SplitRule())
    training = [video for video in learning if video.id in arrays]
    samples, step_reason = _samples_per_step(training, rate, reading.samples_per_step)
    preparation = Preparation(groups, reading.centre, reading.velocities)
    transform = FeatureTransform.fit((arrays[video.id] for video in training), samples, preparation, reading.clip_sd)
    if names is not None and len(names) == width:
        transform = replace(transform, names=names)
    store = _store({video.id: arrays[video.id] for video in present}, files, transform)
    layout = FeatureManifest(f"{name}, raw samples", transform.feature_dim, samples, samples, rate)
    decisions = (class_reason, split_reason, rate_reason, group_reason, step_reason)
    findings = (
        *stamp_findings(odd, rates, rate, files, listed),
        *climbing_findings([found[video.id].values for video in present], names, path),
    )
    source = DataSource(
        name, read, learning, scored, store, layout, Path(annotations), (path,), transform, findings, unusable
    )
    return OwnData(source, named, {video.id: store.length(video.id) for video in present}, decisions)


def _store(
    arrays: Mapping[str, NDArray[Any]], files: Mapping[str, Path], transform: FeatureTransform
) -> NamedFeatureStore:
    """Keep the features of recordings in memory, unless all of these are mapped from their files."""
    if all(isinstance(array, np.memmap) for array in arrays.values()):
        own = {key: files[key] for key in arrays}
        return MappedSignalStore(own, {key: len(array) for key, array in arrays.items()}, transform)
    return InMemoryFeatureStore({key: transform(array) for key, array in arrays.items()})


def _read_files(paths: Mapping[str, Path], problems: Problems) -> dict[str, SignalFile]:
    found = {}
    first: Exception | None = None
    for key, path in paths.items():
        try:
            found[key] = read_signal(path, mapped=True)
        except (ValueError, OSError) as error:
            problems.skip(key, "unreadable recording", error)
            first = first or error
    if not found and first is not None:
        raise ValueError(f"none of {count(len(paths), 'recording')} can be read, the first: {first}")
    return found


def _in_one_order(found: Mapping[str, SignalFile], path: Path) -> tuple[dict[str, SignalFile], tuple[str, ...] | None]:
    """Bring columns that have the same names into the order that most recordings have, which is returned as well."""
    named = [each.names for each in found.values() if each.names is not None]
    usual = max(named, key=named.count, default=())  # the first of equally many
    ordered = {}
    for key, each in found.items():
        ordered[key], said = each.in_order_of(usual, key, "most")
        if said is not None:
            say_once(logger, str(path), said)
    return ordered, usual or None


def _stated(path: Path) -> dict[str, object]:
    """Read what signals.json beside the recordings says; nothing where there is none."""
    file = (path if path.is_dir() else path.parent) / SIGNALS_NAME
    if not file.exists():
        return {}
    content = read_json(file)
    if not isinstance(content, dict) or not set(content) <= {"rate_hz", "channels"}:
        raise ValueError(f'{file}: expected {{"rate_hz": ..., "channels": [...]}}, found {json.dumps(content)[:80]}')
    stated: dict[str, object] = {}
    if content.get("rate_hz") is not None:
        stated["rate_hz"] = number(content["rate_hz"], f"{file}, rate_hz")
    if content.get("channels") is not None:
        stated["channels"] = parse_channels(content["channels"], f"{file}, channels")
    return stated


def _rate(
    found: Mapping[str, SignalFile], usual: Sequence[float], asked: float | None, stated: object, path: Path
) -> tuple[float, Decision]:
    rate, why = asked, "as asked for (--rate)"
    if rate is None and isinstance(stated, float):
        rate, why = stated, f"{SIGNALS_NAME} says so"
    if rate is None and usual:
        rate, why = float(f"{np.median(usual):.4g}"), "the usual distance of time stamps"
    timed = ((key, each.times_sec) for key, each in found.items() if each.times_sec is not None)
    if rate is None and (first := next(timed, None)) is not None:
        key, times = first
        same = f"all {len(times)} are the same" if times[0] == times[-1] else "they do not rise"
        raise ValueError(
            f"{path}: the time stamps do not tell the samples per second, {same} in {key}: correct them, or name their "
            "column otherwise and give --rate"
        )
    if rate is None:
        raise ValueError(
            f"{path}: no column of time stamps, so the samples per second are not known; give them with --rate, as "
            f'"rate_hz" in {SIGNALS_NAME}, or name a column time'
        )
    if not 0 < rate < float("inf"):
        raise ValueError(f"--rate must be a positive number of samples per second, found {rate:g}")
    stamped = sum(each.times_sec is not None for each in found.values())
    if stamped:
        why += f"; {stamped} of {count(len(found), 'recording')} have time stamps and are interpolated to it"
    return rate, Decision("rate", f"{rate:g} samples a second", why)


def _even(found: Mapping[str, SignalFile], rate_hz: float, path: Path, problems: Problems) -> dict[str, NDArray[Any]]:
    arrays = {}
    for key, file in found.items():
        try:
            arrays[key] = file.even(rate_hz)
        except ValueError as error:
            problems.skip(key, "recording with unusable times", error, f"{path}, {key}")
    if not arrays:
        raise ValueError(f"{path}: no recording has usable time stamps; {next(iter(problems.reasons.values()))}")
    return arrays


def _one_width(arrays: dict[str, NDArray[Any]], path: Path, problems: Problems) -> int:
    """Return the channels that most recordings have; the others are left out."""
    widths = [int(array.shape[1]) for array in arrays.values()]
    usual = max(set(widths), key=widths.count)
    for key in [key for key, array in arrays.items() if array.shape[1] != usual]:
        error = ValueError(f"{path}, {key}: {arrays.pop(key).shape[1]} channels, the others have {usual}")
        problems.skip(key, "recording with other channels", error)
    return usual


def _groups(width: int, asked: str | None, stated: object, path: Path) -> tuple[tuple[ChannelGroup, ...], Decision]:
    groups, why = None if asked is None else read_channels(asked), "as asked for (--channels)"
    if groups is None and isinstance(stated, tuple):
        groups, why = stated, f"{SIGNALS_NAME} says so"
    if groups is None:
        groups = (ChannelGroup("scalar", width),)
        why = "nothing says which are sensors of three axes or joints (--channels triaxial:6), so none are rotated"
    total = sum(group.size for group in groups)
    if total != width:
        raise ValueError(f"{path}: recordings have {count(width, 'channel')}, but the groups of channels {total}")
    words = ", ".join(f"{group.size} {group.kind}" for group in groups)
    return groups, Decision("channels", f"{width}: {words}", why)


def _samples_per_step(videos: Sequence[Video], rate_hz: float, asked: int | None) -> tuple[int, Decision]:
    """Choose samples per step so that short actions still have about a dozen steps, as products of 2 and 3."""
    if asked is not None:
        return asked, Decision("samples per step", str(asked), f"as asked for: one step every {asked / rate_hz:.3g} s")
    lengths = np.concatenate([np.empty(0), *(np.diff(video.segments_sec, axis=1)[:, 0] for video in videos)])
    lengths = lengths[lengths > 0]
    if not len(lengths):
        return 1, Decision("samples per step", "1", "no training recording has an action")
    short = float(np.quantile(lengths, 0.05))
    most = min(max(short * rate_hz / _STEPS_OF_SHORT, 1), _MOST_SAMPLES)
    fitting = [2**a * 3**b for a in range(13) for b in range(8) if 2**a * 3**b <= most]
    samples = max(fitting)
    why = (
        f"the shortest actions last {short:.3g} s (5th percentile) and get about {_STEPS_OF_SHORT} steps; one step "
        f"every {samples / rate_hz:.3g} s"
    )
    return samples, Decision("samples per step", str(samples), why)


def strides_of(samples_per_step: int) -> tuple[int, ...]:
    """Split samples per step into strides of the front-end's convolutions: at least two, none above 4 where possible.

    Raises:
        ValueError: For samples that are not positive.
    """
    if samples_per_step < 1:
        raise ValueError(f"samples per step must be at least 1, found {samples_per_step}")
    strides, rest, factor = [], samples_per_step, 2
    while rest > 1:
        while rest % factor and factor * factor <= rest:
            factor += 1
        found = factor if rest % factor == 0 else rest
        strides.append(found)
        rest //= found
    # Two twos become a four, so that few layers suffice.
    while len(strides) > 2 and strides.count(2) >= 2:
        strides.remove(2)
        strides[strides.index(2)] = 4
    strides.sort()
    return (*[1] * (2 - len(strides)), *strides)
