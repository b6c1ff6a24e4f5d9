# SPDX-License-Identifier: Apache-2.0
"""Read every format that ``detect`` wrote with the package it is made for, and print a table.

usage: python examples/results/read_back.py detections.json

Beside ``detections.json`` lie the other files of ``detect --format json,csv,label-studio,fiftyone,srt,vtt,elan``. A
line says how large the files of a format are, how long writing them took (again, into a folder that is removed), which
package read them, and whether what it read is what the JSON holds. Packages that are not installed are named:
``pip install pandas pysubs2 webvtt-py pympi-ling label-studio-sdk fiftyone`` has them all.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from asl_fast.evaluation.activitynet_json import read_detections, write_detections
from asl_fast.formats.known import EACH, JSON, NAMES, TOGETHER, places, write
from asl_fast.formats.recording import Action, Origin, Recording
from asl_fast.formats.text import file_names
from asl_fast.wording import unescape_formula

Span = tuple[str, float, float]
"""Recording, start and end in seconds."""


def spans_of_json(path: Path) -> Iterable[Span]:
    """Read the JSON with the reader of the evaluation."""
    columns = read_detections(path, strict=True).columns
    for name, (start, end) in zip(columns["video"].tolist(), columns["segments"].tolist(), strict=True):
        yield name, start, end


def spans_of_csv(path: Path, names: Iterable[str]) -> Iterable[Span]:
    """Read the table with pandas."""
    import pandas

    for row in pandas.read_csv(path, dtype={"video": str}).itertuples():
        yield unescape_formula(row.video), row.start_sec, row.end_sec


def spans_of_label_studio(path: Path, names: Iterable[str]) -> Iterable[Span]:
    """Check configuration, tasks and predictions with Label Studio's SDK."""
    from label_studio_sdk.label_interface import LabelInterface

    interface = LabelInterface(path.with_suffix(".xml").read_text(encoding="utf-8"))
    for task in json.loads(path.read_text()):
        (prediction,) = task["predictions"]
        if errors := interface.validate_prediction(prediction, return_errors=True):
            raise ValueError(f"{path}: {errors[0]}")
        for region in prediction["result"]:
            (span,) = region["value"]["ranges"]
            rate = task["data"]["fps"]
            yield task["data"]["video"], (span["start"] - 1) / rate, span["end"] / rate


def spans_of_fiftyone(path: Path, names: Iterable[str]) -> Iterable[Span]:
    """Parse the labels with FiftyOne, as if each recording were a video of 100 frames per second."""
    from fiftyone.core.metadata import VideoMetadata
    from fiftyone.utils.data.parsers import FiftyOneTemporalDetectionSampleParser

    content = json.loads(path.read_text())
    parser = FiftyOneTemporalDetectionSampleParser(classes=content["classes"])
    for name, labels in content["labels"].items():
        length = max((each["timestamps"][1] for each in labels), default=0.0) + 1
        metadata = VideoMetadata(duration=length, total_frame_count=math.ceil(length * 100), frame_rate=100.0)
        parser.with_sample((name, labels), metadata=metadata)
        for each in parser.get_label().detections:
            yield name, (each.support[0] - 1) / 100, (each.support[1] - 1) / 100


def spans_of_srt(path: Path, names: Iterable[str]) -> Iterable[Span]:
    """Read the subtitles with pysubs2."""
    import pysubs2

    for name, stem in file_names(names).items():
        for cue in pysubs2.load(str(path / f"{stem}.srt"), format_="srt"):
            yield name, cue.start / 1000, cue.end / 1000


def spans_of_vtt(path: Path, names: Iterable[str]) -> Iterable[Span]:
    """Read the subtitles with webvtt-py."""
    import webvtt

    def seconds(clock: str) -> float:
        hours, minutes, rest = clock.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(rest)

    for name, stem in file_names(names).items():
        for cue in webvtt.read(str(path / f"{stem}.vtt")):
            yield name, seconds(cue.start), seconds(cue.end)


def spans_of_elan(path: Path, names: Iterable[str]) -> Iterable[Span]:
    """Read the documents with pympi."""
    from pympi.Elan import Eaf

    for name, stem in file_names(names).items():
        document = Eaf(str(path / f"{stem}.eaf"))
        for tier in document.get_tier_names():
            for start, end, *_ in document.get_annotation_data_for_tier(tier):
                yield name, start / 1000, end / 1000


READERS: dict[str, tuple[str, Callable[[Path, Iterable[str]], Iterable[Span]], float]] = {
    "csv": ("pandas", spans_of_csv, 1e-9),
    "label-studio": ("label-studio-sdk", spans_of_label_studio, 0.1),
    "fiftyone": ("fiftyone", spans_of_fiftyone, 0.02),
    "srt": ("pysubs2", spans_of_srt, 0.002),
    "vtt": ("webvtt-py", spans_of_vtt, 0.002),
    "elan": ("pympi-ling", spans_of_elan, 0.002),
}
"""By format: the package, what reads with it, and by how many seconds a time may differ: formats count in frames or
milliseconds."""


def recordings_of(path: Path) -> list[Recording]:
    """Make of the JSON what the formats write; it has no lengths and no frame rates, which stand in."""
    file = read_detections(path, strict=True)
    found: dict[str, list[Action]] = {name: [] for name in file.videos}
    columns = (file.columns[name].tolist() for name in ("video", "segments", "labels", "scores"))
    for name, (start, end), label, score in zip(*columns, strict=True):
        found[name].append(Action(start, end, label, score))
    return [
        Recording(name, max((each.end_sec for each in actions), default=1.0), 25.0, tuple(actions))
        for name, actions in found.items()
    ]


def seconds_to_write(name: str, recordings: list[Recording], origin: Origin, source: Path) -> float:
    """Write one format into a folder that is removed."""
    with tempfile.TemporaryDirectory() as folder:
        target = places(Path(folder) / "again.json", (JSON, name))
        started = time.perf_counter()
        if name == JSON:
            columns = read_detections(source).columns
            started = time.perf_counter()
            write_detections(Path(folder) / "again.json", columns)
        else:
            write(target, recordings, origin)
        return time.perf_counter() - started


def compare(expected: list[Span], found: list[Span], tolerance_sec: float) -> str:
    """Say whether two lists hold the same spans, in any order."""
    if len(found) != len(expected):
        return f"DIFFERS: {len(found)} of {len(expected)} detections"
    worst = 0.0
    for which in (1, 2):
        # Starts and ends apart: rounding may change the order of actions that begin at almost the same time.
        pairs = zip(*(sorted((span[0], span[which]) for span in spans) for spans in (expected, found)), strict=True)
        worst = max([worst, *(abs(a - b) if name == other else math.inf for (name, a), (other, b) in pairs)])
    return f"equal, times within {worst * 1000:.3g} ms" if worst <= tolerance_sec else f"DIFFERS by {worst:.3g} s"


def main(words: list[str]) -> int:
    """Print the table; return 1 where something differs."""
    if len(words) != 1:
        sys.exit(__doc__)
    source = Path(words[0])
    recordings = recordings_of(source)
    names = [each.name for each in recordings]
    origin = Origin("read_back", tuple(sorted({action.label for each in recordings for action in each.actions})))
    expected = list(spans_of_json(source))
    print(f"{len(expected)} detections in {len(names)} recordings")
    print(f"{'format':14} {'files':>5} {'kB':>9} {'written in':>10}  {'read by':17} what it read")
    differs = False
    stem = source.name.removesuffix(".json")
    for name in NAMES:
        if name in TOGETHER:
            files = [source.with_name(f"{stem}{ending}") for ending in TOGETHER[name]]
            place = files[0]
        else:
            place = source.with_name(stem)
            files = sorted(place.glob(f"*{EACH[name][0]}"))
        size_kb = sum(path.stat().st_size for path in files) / 1000
        package, reader, tolerance = READERS.get(name, ("asl_fast", None, 0.0))
        try:
            found = expected if reader is None else list(reader(place, names))
            verdict = compare(expected, found, tolerance)
        except ImportError:
            verdict = f"not installed: pip install {package}"
        differs |= verdict.startswith("DIFFERS")
        taken = seconds_to_write(name, recordings, origin, source)
        print(f"{name:14} {len(files):5d} {size_kb:9.1f} {taken * 1000:7.0f} ms  {package:17} {verdict}")
    return int(differs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
