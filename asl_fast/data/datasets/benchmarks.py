# SPDX-License-Identifier: Apache-2.0
"""The six video benchmarks: their annotation files, splits and usual features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from asl_fast.data.annotations.action_lists import read_action_lists, read_class_list
from asl_fast.data.annotations.activitynet import read_activitynet_json
from asl_fast.data.annotations.activitynet_bsn import read_activitynet13_bsn
from asl_fast.data.annotations.ego4d import read_ego4d_moments
from asl_fast.data.annotations.epic100 import EpicTask, read_epic100
from asl_fast.data.annotations.thumos14 import read_thumos14_csv, thumos14_fps
from asl_fast.data.annotations.video import Annotations
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.features.manifest_file import find_manifest
from asl_fast.data.features.reading import FeatureReading
from asl_fast.wording import count

Reader = Callable[[Path, bool], Annotations]


@dataclass(frozen=True)
class Benchmark:
    """What is particular to a benchmark.

    Args:
        num_classes: Published number of classes; another number in the file is an error.
        train: Names that its training split goes by, in lower case.
        test: Names that the split it is scored on goes by.
        manifests: Feature sets in common use, the default first; several joined by ``+`` are concatenated.
        readers: Annotation file that is looked for -> how it is read, in order of preference.
        max_length: Longest training crop in published settings.
        truncation_threshold: As published.
    """

    num_classes: int
    train: tuple[str, ...]
    test: tuple[str, ...]
    manifests: tuple[str, ...]
    readers: Mapping[str, Reader]
    max_length: int
    truncation_threshold: float = 0.5


def _json(path: Path, strict: bool, *, name: str) -> Annotations:
    return read_activitynet_json(path, name=name, strict=strict)


def _thumos_csv(path: Path, strict: bool) -> Annotations:
    return read_thumos14_csv(path.parent, strict=strict)


def _action_lists(
    path: Path, strict: bool, *, name: str, num_classes: int, first_id: int, fps: Callable[[str], float]
) -> Annotations:
    class_files = [path.with_name(file) for file in (f"{name}_classes.txt", "Charades_v1_classes.txt")]
    class_file = next((file for file in class_files[: 2 if name == "charades" else 1] if file.exists()), None)
    names = None if class_file is None else read_class_list(class_file, first_id)
    return read_action_lists(
        path, name=name, num_classes=num_classes, first_id=first_id, class_names=names, fps=fps, strict=strict
    )


def _charades_fps(video_id: str) -> float:
    return 24.0


def _epic(path: Path, strict: bool, *, task: EpicTask) -> Annotations:
    def beside(name: str) -> Path:
        found = [path.with_name(name), path.with_name(f"{name}.gz")]
        return found[1] if found[1].exists() and not found[0].exists() else found[0]

    files = [beside(f"EPIC_100_{name}.csv") for name in ("video_info", "verb_classes", "noun_classes")]
    splits = {name: beside(f"EPIC_100_{name}.csv") for name in ("train", "validation")}
    return read_epic100(splits, *files, strict=strict).task(task)


def _bsn(path: Path, strict: bool) -> Annotations:
    info = [path.with_name(name) for name in ("anet_video_info_new.csv", "video_info_new.csv")]
    classes = path.with_name("anet_action_name.csv")
    return read_activitynet13_bsn(
        path, info[0] if info[0].exists() else info[1], classes if classes.exists() else None, strict=strict
    )


def _moments(path: Path, strict: bool) -> Annotations:
    return read_ego4d_moments([path, path.with_name("moments_val.json")], strict=strict)


_TRAIN, _VALIDATION = ("training", "train"), ("validation", "val")
_EPIC_CSV = "EPIC_100_validation.csv"

VIDEO_BENCHMARKS: dict[str, Benchmark] = {
    "thumos14": Benchmark(
        20,
        ("validation", "val", "train"),
        ("test",),
        ("thumos14-i3d",),
        {"thumos14.json": partial(_json, name="thumos14"), "val_Annotation.csv": _thumos_csv},
        2304,
    ),
    "multithumos": Benchmark(
        65,
        _TRAIN,
        ("testing", "test"),
        ("multithumos-i3d-rgb", "multithumos-i3d"),
        {"multithumos.json": partial(_action_lists, name="multithumos", num_classes=65, first_id=1, fps=thumos14_fps)},
        2304,
    ),
    "charades": Benchmark(
        157,
        _TRAIN,
        ("testing", "test"),
        ("charades-i3d-rgb", "charades-i3d-rgb-stride4"),
        {"charades.json": partial(_action_lists, name="charades", num_classes=157, first_id=0, fps=_charades_fps)},
        768,
    ),
    "ego4d-mq": Benchmark(
        110,
        _TRAIN,
        _VALIDATION,
        ("ego4d-slowfast+ego4d-omnivore+ego4d-egovlp", "ego4d-slowfast", "ego4d-omnivore", "ego4d-egovlp"),
        {
            "ego4d.json": partial(_json, name="ego4d-mq"),
            "ego4d_clip_annotations_v3.json": partial(_json, name="ego4d-mq"),
            "moments_train.json": _moments,
        },
        1024,
        0.3,
    ),
    "activitynet13": Benchmark(
        200,
        _TRAIN,
        _VALIDATION,
        ("activitynet13-tsp", "activitynet13-i3d"),
        {
            "anet1.3_tsp_filtered.json": partial(_json, name="activitynet13"),
            "activity_net.v1-3.min.json": partial(_json, name="activitynet13"),
            "anet_anno_action.json": _bsn,
        },
        192,
    ),
}
for _task, _count in (("verb", 97), ("noun", 300)):
    VIDEO_BENCHMARKS[f"epic100-{_task}"] = Benchmark(
        _count,
        _TRAIN,
        _VALIDATION,
        ("epic100-slowfast",),
        {
            f"epic_kitchens_100_{_task}.json": partial(_json, name=f"epic100-{_task}"),
            _EPIC_CSV: partial(_epic, task=_task),  # type: ignore[arg-type]
        },
        2304,
        0.3,
    )


def load_annotations(name: str, path: str | Path, *, strict: bool = False) -> Annotations:
    """Annotations of a benchmark from a file, or from the first known file in a folder or its ``annotations`` folder.

    A file of another name is read as ActivityNet-style JSON, or as the benchmark's own JSON layout.

    Raises:
        FileNotFoundError: Listing the files looked for.
        ValueError: When the file has another number of classes than the benchmark.
    """
    benchmark = VIDEO_BENCHMARKS[name]
    file = annotation_file(name, path)
    read = benchmark.readers.get(file.name, next(iter(benchmark.readers.values())))
    annotations = read(file, strict)
    if len(annotations.class_names) > benchmark.num_classes:
        raise ValueError(
            f"{file}: {count(len(annotations.class_names), 'class', 'classes')}, but {name} has "
            f"{benchmark.num_classes}; is this the right annotation file?"
        )
    # Rare classes may be missing from a split (EPIC nouns); their ids are part of the benchmark all the same.
    missing = range(len(annotations.class_names), benchmark.num_classes)
    names = annotations.class_names + tuple(f"unused_{index}" for index in missing)
    return replace(annotations, class_names=names)


def annotation_file(name: str, path: str | Path) -> Path:
    """Find the annotation file of a benchmark that `load_annotations` reads.

    Raises:
        FileNotFoundError: Listing the files looked for.
    """
    path = Path(path)
    if path.is_file():
        return path
    files = VIDEO_BENCHMARKS[name].readers
    candidates = (folder / file for file in files for folder in (path / "annotations", path))
    found = next((file for file in candidates if file.is_file()), None)
    if found is None:
        looked = ", ".join(files)
        raise FileNotFoundError(f"{name}: no annotations in {path} or {path / 'annotations'}; looked for {looked}")
    return found


def told_manifest(
    dataset: str, named: str | None, known: FeatureManifest | None, reading: FeatureReading
) -> FeatureManifest:
    """Return the manifest that a command line asks for.

    Args:
        dataset: Name of the data set.
        named: Name or file of a manifest.
        known: The one to go by where none is named; None takes the benchmark's.
        reading: How features lie in their files, which goes before what the manifest says.

    Raises:
        FileNotFoundError, ValueError: As `find_manifest`; when the benchmark has several and none is named.
    """
    if named is None and known is None:
        names = VIDEO_BENCHMARKS[dataset].manifests if dataset in VIDEO_BENCHMARKS else ()
        if len(names) != 1:
            options = ", ".join(reading.given)
            raise ValueError(
                f"{options} of {dataset} need --manifest, one of {', '.join(names)} or a file"
                if names
                else f"{dataset} has no feature files that {options} could be said of"
            )
        named = names[0]
    base = known if named is None else find_manifest(named)
    assert base is not None
    return reading.applied(base)
