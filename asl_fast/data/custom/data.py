# SPDX-License-Identifier: Apache-2.0
"""One's own data: an annotation file and features, from which everything else follows.

Annotations are ActivityNet-style JSON, a table, or the action lists of MultiTHUMOS with a ``<file>_classes.txt``
beside them.
Features are whatever `open_store` opens; a ``manifest.json`` beside them, where there is one, says how they were
extracted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asl_fast.data.annotations.action_lists import occurring_ids, read_action_lists, read_class_list
from asl_fast.data.annotations.activitynet import read_activitynet_json, read_database
from asl_fast.data.annotations.columns import parse_columns
from asl_fast.data.annotations.problems import Problems
from asl_fast.data.annotations.video import Annotations, Video
from asl_fast.data.custom.decision import Decision
from asl_fast.data.custom.found_features import READING_FIELDS, find_features
from asl_fast.data.custom.split import SplitRule, split
from asl_fast.data.custom.timing import derive_manifest
from asl_fast.data.features.check import count_steps
from asl_fast.data.features.extraction import VideoFacts, read_video_facts
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.features.manifest_file import MANIFEST_NAME
from asl_fast.data.features.reading import FeatureReading
from asl_fast.data.features.store import NamedFeatureStore
from asl_fast.data.source import DataSource
from asl_fast.files import read_named_numbers
from asl_fast.wording import count, examples


@dataclass(frozen=True)
class AnnotationTable:
    """What an annotation file does not say by itself.

    Attributes:
        columns: Columns of a table by what they hold, as ``video=clip,start=from``; None goes by their names.
        durations: File with the length of each video, which goes before what the annotations say; None goes by them.
    """

    columns: str | None = None
    durations: str | None = None


@dataclass(frozen=True, eq=False)
class OwnData:
    """One's own data set, and what was derived to read it.

    Attributes:
        source: The data set.
        split: With both subsets named.
        steps: Feature vectors by video, of those whose features can be used, as far as headers tell.
        decisions: What was derived, and why.
    """

    source: DataSource
    split: SplitRule
    steps: dict[str, int]
    decisions: tuple[Decision, ...]


def _at_true_rate(video: Video, facts: Mapping[str, VideoFacts]) -> Video:
    """Give a video the rate that its features count in, whatever the annotations say."""
    return replace(video, fps=facts[video.id].fps) if video.id in facts else video


def own_name(path: str | Path) -> str:
    """Name of the data set in an annotation file: the file's, without extensions."""
    return Path(path).name.split(".")[0]


def open_own_data(
    annotations: str | Path,
    features: Sequence[str | Path],
    *,
    name: str | None = None,
    manifest: str | FeatureManifest | None = None,
    reading: FeatureReading | None = None,
    table: AnnotationTable | None = None,
    rule: SplitRule | None = None,
    strict: bool = False,
) -> OwnData:
    """Annotations and features as a data set.

    Args:
        annotations: JSON file, or a ``.csv`` or ``.tsv`` table.
        features: One or more feature folders or ``.h5`` files; several are put side by side.
        name: Name of the data set; None takes the annotation file's.
        manifest: How the features were extracted: a manifest, a name in ``MANIFESTS`` or a JSON file; None takes
            ``manifest.json`` in the first feature folder or what a packed store holds, or derives it from lengths and
            durations.
        reading: How features lie in their files, which goes before what the manifest says.
        table: What the annotation file does not say by itself.
        rule: How to split; None finds out.
        strict: Stop at the first unusable entry of the annotations.

    Raises:
        FileNotFoundError: When a path is not there, or no feature has the name of a video.
        ValueError: Naming the file, for what cannot be read or does not fit together.
    """
    name = name or own_name(annotations)
    paths = tuple(Path(path) for path in features)
    if not paths:
        raise ValueError(f"{name}: no features given; name their folder or .h5 file with --features")
    facts = read_video_facts(paths[0] / MANIFEST_NAME)
    lengths_sec = {video_id: each.duration_sec for video_id, each in facts.items()}
    read, class_reason = read_own_annotations(
        annotations, name, table=table, strict=strict, lengths_sec=lengths_sec or None
    )
    read = replace(read, videos={key: _at_true_rate(video, facts) for key, video in read.videos.items()})
    found = find_features(read, paths, annotations, manifest, reading or FeatureReading())
    store, present = found.store, found.videos
    steps = _steps(name, present, store)
    layout = found.manifest
    if found.is_given:
        timing: tuple[Decision, ...] = (Decision("stride", layout.timing_words(), f"manifest {layout.name!r} says so"),)
    else:
        derived, timing = derive_manifest(present, steps, name=name, dim=store.dim)
        layout = replace(derived, **{key: getattr(layout, key) for key in READING_FIELDS})
    learning, scored, named, split_reason = split(read, [v for v in present if v.id in steps], rule or SplitRule())
    features_reason = Decision(
        "features",
        f"width {store.dim}, {len(present)} of {count(len(read.videos), 'video')} have them",
        found.words + _one_shape(steps, store.dim, layout),
    )
    decisions = (class_reason, split_reason, features_reason, *timing)
    source = DataSource(name, read, learning, scored, store, layout, Path(annotations), paths)
    return OwnData(source, named, steps, decisions)


def read_own_annotations(
    path: str | Path,
    name: str,
    *,
    table: AnnotationTable | None = None,
    strict: bool = False,
    lengths_sec: Mapping[str, float] | None = None,
) -> tuple[Annotations, Decision]:
    """Annotations in any layout, with a reason for their classes.

    Args:
        path: The file.
        name: Name of the data set.
        table: What the file does not say by itself.
        strict: Stop at the first unusable entry.
        lengths_sec: Lengths of videos, as far as they are known otherwise, for those of which nothing else says it.

    Raises:
        FileNotFoundError, ValueError: As `read_activitynet_json` and `read_action_lists`; when no class occurs.
    """
    table = table or AnnotationTable()
    columns = None if table.columns is None else parse_columns(table.columns)
    told = None if table.durations is None else read_named_numbers(table.durations, "seconds")
    database = read_database(path, columns)
    entries = [entry for entry in database.values() if isinstance(entry, dict)]
    if entries and all("actions" in entry for entry in entries):
        return _action_lists(Path(path), name, database, told, strict=strict)
    read = read_activitynet_json(
        path,
        name=name,
        durations_sec=lengths_sec,
        told_durations_sec=told,
        default_subset="all",
        columns=columns,
        strict=strict,
    )
    if not read.class_names:
        raise ValueError(f"{path}: no annotation has a 'label', so there are no classes; is this the test split alone?")
    instances = sum(len(video.labels) for video in read.videos.values())
    numbered = any(
        isinstance(each, dict) and each.get("label_id") is not None
        for video_id in read.videos
        for each in database[video_id].get("annotations") or ()
    )
    order = "numbered by label_id" if numbered else "in alphabetical order, there is no label_id"
    value = f"{len(read.class_names)} ({examples(list(read.class_names))})"
    return read, Decision("classes", value, f"labels of {count(instances, 'instance')}, {order}")


def _action_lists(
    path: Path, name: str, content: dict[str, Any], told: Mapping[str, float] | None, *, strict: bool
) -> tuple[Annotations, Decision]:
    ids = occurring_ids(content)
    if not ids:
        raise ValueError(f"{path}: no 'actions' of the form [class, start, end], so there are no classes")
    class_file = path.with_name(f"{path.stem}_classes.txt")
    first = 0 if ids[0] == 0 else 1
    names = read_class_list(class_file, first) if class_file.exists() else None
    number = None if names is None else len(names)
    read = read_action_lists(
        path,
        name=name,
        num_classes=number,
        first_id=first,
        class_names=names,
        told_durations_sec=told,
        strict=strict,
    )
    why = f"ids {ids[0]} to {ids[-1]} occur, " + (
        f"named in {class_file.name}" if names is not None else f"no {class_file.name} names them"
    )
    return read, Decision("classes", f"{len(read.class_names)} ({examples(list(read.class_names))})", why)


def _one_shape(steps: dict[str, int], dim: int, layout: FeatureManifest) -> str:
    """Say so where all arrays have one shape, which cannot tell time from channels."""
    if len(steps) < 3 or len(set(steps.values())) > 1 or layout.layout is not None:
        return ""
    shape = (next(iter(steps.values())), dim)
    return f"; all arrays are (time, channels) = {shape}; --layout CT if it is the other way round"


def _steps(name: str, videos: Sequence[Video], store: NamedFeatureStore) -> dict[str, int]:
    """Lengths from headers; that a file is of no use is said when the data set is checked."""
    layout = FeatureManifest(name, store.dim, None)
    problems = Problems(name)
    steps: dict[str, int] = {}
    first: Exception | None = None
    for video in videos:
        try:
            steps[video.id] = count_steps(video, store, layout, verify=False)
        except (ValueError, OSError) as error:
            problems.skip(video.id, "video with unusable features", error)
            first = first or error
    if first is not None and not steps:
        raise ValueError(
            f"{name}: none of the features can be used ({count(len(videos), 'video')}), the first: {first}"
        )
    return steps
