# SPDX-License-Identifier: Apache-2.0
"""One's own data: an annotation file and features, from which everything else follows.

Annotations are ActivityNet-style JSON, or the action lists of MultiTHUMOS with a ``<file>_classes.txt`` beside them.
Features are whatever `open_store` opens; a ``manifest.json`` beside them, where there is one, says how they were
extracted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asl_fast.data.annotations.action_lists import occurring_ids, read_action_lists, read_class_list
from asl_fast.data.annotations.activitynet import read_activitynet_json
from asl_fast.data.annotations.problems import Problems
from asl_fast.data.annotations.video import Annotations, Video
from asl_fast.data.custom.decision import Decision
from asl_fast.data.custom.split import SplitRule, split
from asl_fast.data.custom.timing import derive_manifest
from asl_fast.data.features.affix import common_prefix, near_names
from asl_fast.data.features.check import count_steps
from asl_fast.data.features.file_store import ConcatenatedFeatureStore, open_store
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.features.manifest_file import MANIFEST_NAME, find_manifest, read_manifest
from asl_fast.data.features.packed_store import PackedFeatureStore, is_packed
from asl_fast.data.features.store import NamedFeatureStore
from asl_fast.data.source import DataSource
from asl_fast.files import read_json
from asl_fast.wording import count, examples


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


def own_name(path: str | Path) -> str:
    """Name of the data set in an annotation file: the file's, without extensions."""
    return Path(path).name.split(".")[0]


def open_own_data(
    annotations: str | Path,
    features: Sequence[str | Path],
    *,
    name: str | None = None,
    manifest: str | FeatureManifest | None = None,
    rule: SplitRule | None = None,
    strict: bool = False,
) -> OwnData:
    """Annotations and features as a data set.

    Args:
        annotations: JSON file.
        features: One or more feature folders or ``.h5`` files; several are put side by side.
        name: Name of the data set; None takes the annotation file's.
        manifest: How the features were extracted: a manifest, a name in ``MANIFESTS`` or a JSON file; None takes
            ``manifest.json`` in the first feature folder or what a packed store holds, or derives it from lengths and
            durations.
        rule: How to split; None finds out.
        strict: Stop at the first unusable entry of the annotations.

    Raises:
        FileNotFoundError: When a path is not there, or no feature has the name of a video.
        ValueError: Naming the file, for what cannot be read or does not fit together.
    """
    name = name or own_name(annotations)
    read, class_reason = read_own_annotations(annotations, name, strict=strict)
    paths = tuple(Path(path) for path in features)
    if not paths:
        raise ValueError(f"{name}: no features given; name their folder or .h5 file with --features")
    dim = sum(open_store(path).dim for path in paths)
    given = _given_manifest(manifest, paths[0], dim)
    prefix = given.prefix if given is not None else common_prefix(read.videos, open_store(paths[0]).names)
    store = _store(paths, prefix or "")
    if given is not None and given.dim != store.dim:
        raise ValueError(
            f"{name}: features in {', '.join(map(str, paths))} have width {store.dim}, but manifest "
            f"{given.name!r} says {given.dim}; is it the manifest of these features?"
        )
    present = [video for video in read.videos.values() if video.id in store]
    if not present:
        hint = near_names(list(read.videos), store.names, prefix or "")
        places = ", ".join(map(str, paths))
        raise FileNotFoundError(
            f"none of the {len(read.videos)} videos of {annotations} has features in {places}: {hint.found}; {hint.fix}"
        )
    steps = _steps(name, present, store)
    if given is None:
        layout, timing = derive_manifest(present, steps, name=name, dim=store.dim, prefix=prefix or "")
    else:
        layout, timing = given, (Decision("stride", given.timing_words(), f"manifest {given.name!r} says so"),)
    learning, scored, named, split_reason = split(read, [v for v in present if v.id in steps], rule or SplitRule())
    decisions = [
        class_reason,
        split_reason,
        Decision(
            "features",
            f"width {store.dim}, {len(present)} of {len(read.videos)} videos have them",
            f"files are named {layout.prefix!r} + video" if layout.prefix else "files are named as the videos",
        ),
        *timing,
    ]
    source = DataSource(name, read, learning, scored, store, layout, Path(annotations), paths)
    return OwnData(source, named, steps, tuple(decisions))


def read_own_annotations(path: str | Path, name: str, *, strict: bool = False) -> tuple[Annotations, Decision]:
    """Annotations in either layout, with a reason for their classes.

    Raises:
        FileNotFoundError, ValueError: As `read_activitynet_json` and `read_action_lists`; when no class occurs.
    """
    content = read_json(path)
    entries = [entry for entry in content.values() if isinstance(entry, dict)] if isinstance(content, dict) else []
    if entries and all("actions" in entry for entry in entries):
        return _action_lists(Path(path), name, content, strict=strict)
    read = read_activitynet_json(path, name=name, default_subset="all", strict=strict)
    if not read.class_names:
        raise ValueError(f"{path}: no annotation has a 'label', so there are no classes; is this the test split alone?")
    instances = sum(len(video.labels) for video in read.videos.values())
    database = content.get("database", content)
    numbered = any(
        isinstance(each, dict) and each.get("label_id") is not None
        for video_id in read.videos
        for each in database[video_id].get("annotations") or ()
    )
    order = "numbered by label_id" if numbered else "in alphabetical order, there is no label_id"
    value = f"{len(read.class_names)} ({examples(list(read.class_names))})"
    return read, Decision("classes", value, f"labels of {count(instances, 'instance')}, {order}")


def _action_lists(path: Path, name: str, content: dict[str, Any], *, strict: bool) -> tuple[Annotations, Decision]:
    ids = occurring_ids(content)
    if not ids:
        raise ValueError(f"{path}: no 'actions' of the form [class, start, end], so there are no classes")
    class_file = path.with_name(f"{path.stem}_classes.txt")
    first = 0 if ids[0] == 0 else 1
    names = read_class_list(class_file, first) if class_file.exists() else None
    number = None if names is None else len(names)
    read = read_action_lists(path, name=name, num_classes=number, first_id=first, class_names=names, strict=strict)
    why = f"ids {ids[0]} to {ids[-1]} occur, " + (
        f"named in {class_file.name}" if names is not None else f"no {class_file.name} names them"
    )
    return read, Decision("classes", f"{len(read.class_names)} ({examples(list(read.class_names))})", why)


def _given_manifest(manifest: str | FeatureManifest | None, folder: Path, dim: int) -> FeatureManifest | None:
    if isinstance(manifest, FeatureManifest):
        return manifest
    if manifest is not None:
        return find_manifest(manifest, dim)
    if is_packed(folder):
        return PackedFeatureStore(folder).manifest
    beside = (folder if folder.is_dir() else folder.parent) / MANIFEST_NAME
    return read_manifest(beside, dim) if beside.is_file() else None


def _store(paths: Sequence[Path], prefix: str) -> NamedFeatureStore:
    stores = [open_store(path, prefix=prefix) for path in paths]
    return stores[0] if len(stores) == 1 else ConcatenatedFeatureStore(stores)


def _steps(name: str, videos: Sequence[Video], store: NamedFeatureStore) -> dict[str, int]:
    """Lengths from headers; that a file is of no use is said when the data set is checked."""
    layout = FeatureManifest(name, store.dim, None)
    problems = Problems(name)
    steps = {}
    for video in videos:
        try:
            steps[video.id] = count_steps(video, store, layout, verify=False)
        except (ValueError, OSError) as error:
            problems.skip(video.id, "video with unusable features", error)
    return steps
