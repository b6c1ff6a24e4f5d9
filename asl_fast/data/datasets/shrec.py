# SPDX-License-Identifier: Apache-2.0
"""SHREC'21 and SHREC'22: gestures of a tracked hand between other movement, in continuous recordings.

SHREC'22 (Emporio et al., Computers & Graphics 107, 2022): 26 joints of a HoloLens 2 at uneven times, about 20 a second;
they are interpolated to an even rate, a frame lasting from the midpoint with its predecessor to that with its
successor. SHREC'21 (Caputo et al., Computers & Graphics 99, 2021, annotations revised by the organisers): 20 joints of
a Leap Motion at 50 Hz.

Read from the organisers' text files, or from the packed form (see `shrec_packed`). The official split is by recording.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.annotations.problems import AnnotationError, Problems
from asl_fast.data.annotations.video import Annotations, Video
from asl_fast.data.bundle import DatasetBundle
from asl_fast.data.channels import Centre, ChannelGroup
from asl_fast.data.datasets.number_tables import parse_numbers
from asl_fast.data.datasets.shrec_files import (
    SUBSETS,
    Instance,
    TextFile,
    find_track_files,
    parse_annotations,
    read_file,
)
from asl_fast.data.datasets.shrec_packed import SEQUENCES, read_packed
from asl_fast.data.signals.recordings import SignalRecordings, SignalSettings, signal_bundle, signal_source
from asl_fast.data.signals.resampling import frames_to_sec, resample, sample_borders
from asl_fast.data.source import DataSource


class RawFrames(NamedTuple):
    """Frames of one recording: positions (N, C) in metres, and their times in seconds where they are uneven."""

    positions: NDArray[np.float64]
    times_sec: NDArray[np.float64] | None


@dataclass(frozen=True)
class Track:
    """What differs between the tracks.

    Attributes:
        name: Of the data set.
        title: For reports.
        classes: In the order of the organisers' evaluator.
        joints: Number of joints, the root first.
        widths: Numbers in a line of a recording.
        first_frame: What the annotations call the first frame.
        rate_hz: Frames per second; for uneven times the rate they are interpolated to unless another is asked for.
        has_times: Whether frames carry time stamps.
        shared_numbers: Whether both splits count from 1, so that ids name the split.
        corrections: Annotations that are typing errors, by (number, label, first, last), and what they should be.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    joints: int
    widths: tuple[int, ...]
    first_frame: int
    rate_hz: float
    has_times: bool
    shared_numbers: bool
    corrections: Mapping[tuple[int, str, int, int], tuple[int, int]] = field(default_factory=dict)

    @property
    def channels(self) -> tuple[ChannelGroup, ...]:
        """One hand; y points up. Left and right differ, so it may not be mirrored."""
        return (ChannelGroup("skeleton", 3 * self.joints, "hand", up="y"),)

    def video_id(self, subset: str, number: int) -> str:
        """Id of a recording."""
        return f"{subset}_{number:03d}" if self.shared_numbers else f"{number:03d}"


# Nobody says who was recorded, but lengths of bones change every few recordings and hardly in between: neighbours are
# of one person, and holding out whole runs of them tells how a detector does on persons it has not seen.
_NEIGHBOURS = 12
_SHARED = (
    *("ONE", "TWO", "THREE", "FOUR", "OK", "MENU"),
    *("LEFT", "RIGHT", "CIRCLE", "V", "CROSS", "GRAB", "PINCH"),
)
SHREC22 = Track(
    "shrec22",
    "SHREC'22 gestures",
    (*_SHARED, "DENY", "WAVE", "KNOB"),
    joints=26,
    widths=(80,),
    first_frame=0,
    rate_hz=20.0,
    has_times=True,
    shared_numbers=True,
)
SHREC21 = Track(
    "shrec21",
    "SHREC'21 gestures",
    (*_SHARED, "TAP", "DENY", "KNOB", "EXPAND"),
    joints=20,
    # Some copies have 7 numbers more at the beginning of each line.
    widths=(140, 147),
    first_frame=1,
    rate_hz=50.0,
    has_times=False,
    shared_numbers=False,
    # The first annotations, which the revised ones replace, have 1140-1153 and 501-519 there.
    corrections={(64, "TAP", 1135, 162): (1135, 1162), (155, "V", 595, 528): (495, 528)},
)


def read_track(
    track: Track, data_root: str | Path, *, signal_rate_hz: float | None = None, strict: bool = False
) -> SignalRecordings:
    """Read a track with its official split.

    Each video keeps in ``extra`` the annotated frames (``frames``, pairs as the organisers count them) and the
    ``frame_borders_sec`` between original frames, so that scores by frame can be had.

    Args:
        track: The track.
        data_root: Folder of the text files or of the packed form.
        signal_rate_hz: Samples per second of the result; None takes the track's.
        strict: Stop at an unusable recording or annotation instead of leaving it out with a warning.

    Raises:
        FileNotFoundError: When files are missing.
        ValueError: Naming the file, for one that cannot be read.
    """
    root, rate = Path(data_root), signal_rate_hz or track.rate_hz
    problems = Problems(track.name, strict=strict)
    annotations, frames = _open(track, root, problems)
    signals: dict[str, NDArray[np.float32]] = {}
    videos: dict[str, Video] = {}
    sources: dict[str, int] = {}
    for subset, number, where, raw in frames:
        key = track.video_id(subset, number)
        if number not in annotations[subset]:
            problems.skip(key, "recording without annotations", ValueError(f"{where} is in no annotation file"))
            continue
        times = raw.times_sec if raw.times_sec is not None else np.arange(len(raw.positions)) / track.rate_hz
        try:
            borders = sample_borders(times, alone_sec=1 / track.rate_hz)
            values = raw.positions
            if track.has_times or rate != track.rate_hz:
                values, borders = resample(times, raw.positions, rate)
        except ValueError as error:
            problems.skip(key, "unreadable recording", ValueError(f"{where}: {error}"))
            continue
        signals[key] = values.astype(np.float32)
        videos[key] = _video(track, key, subset, annotations[subset][number], number, borders, rate, problems)
        sources[key] = (number - 1) // _NEIGHBOURS
    listed = {track.video_id(subset, number) for subset in SUBSETS for number in annotations[subset]}
    for missing in sorted(listed - videos.keys() - problems.skipped.keys()):
        problems.skip(missing, "recording without file", FileNotFoundError(f"{root} has no file of {missing}"))
    problems.summarise()
    read = Annotations(track.name, track.classes, videos, problems.skipped, dict(problems.left_out))
    return SignalRecordings(track.title, signals, read, rate, track.channels, sources, "neighbourhood")


Frames = Iterator[tuple[str, int, str, RawFrames]]


def _open(track: Track, root: Path, problems: Problems) -> tuple[dict[str, dict[int, list[Instance]]], Frames]:
    """Return annotations by split and number, and the recordings one by one with what messages call them."""
    if (root / SEQUENCES).exists():
        texts = _packed_annotations(track, root)
        recordings = read_packed(root, 3 * track.joints, has_times=track.has_times)
        frames: Frames = (
            (subset, number, f"{root}, {track.video_id(subset, number)}", RawFrames(*recording))
            for (subset, number), recording in recordings.items()
        )
    else:
        files = find_track_files(root, track.name)
        texts = files.annotations
        frames = _text_frames(track, files.recordings, problems)
    annotations = {}
    for subset in SUBSETS:
        file = texts[subset]
        annotations[subset] = parse_annotations(file.read(), file.where, problems, partial(track.video_id, subset))
    return annotations, frames


def _packed_annotations(track: Track, root: Path) -> dict[str, TextFile]:
    """Return the annotation files of the packed form, which are those of the organisers."""
    names = {
        "shrec22": {"train": "train_annotations.txt", "test": "test_annotations_fixed.txt"},
        "shrec21": {"train": "annotations_revised_training.txt", "test": "annotations_revised.txt"},
    }[track.name]
    found = {}
    for subset, name in names.items():
        path = root / name
        if not path.is_file():
            raise FileNotFoundError(f"{track.name}: {path} does not exist; copy it beside {SEQUENCES}")
        found[subset] = TextFile(str(path), path.read_bytes)
    return found


def _text_frames(track: Track, files: Mapping[tuple[str, int], TextFile], problems: Problems) -> Frames:
    for (subset, number), file in files.items():
        try:
            yield subset, number, file.where, parse_frames(track, file.read(), file.where)
        except (ValueError, OSError) as error:
            problems.skip(track.video_id(subset, number), "unreadable recording", error)


def parse_frames(track: Track, text: bytes, where: str) -> RawFrames:
    """Parse the text of one recording, a frame a line.

    Raises:
        ValueError: Naming the source and the line, for a line of another width or a value that is not finite; for
            frames that are not numbered from 0 on.
    """
    table = parse_numbers(text, track.widths, where, separator=";")
    if not np.isfinite(table).all():
        line = int(np.argmin(np.isfinite(table).all(axis=1))) + 1
        raise ValueError(f"{where}, line {line}: value is not finite; download it again")
    if track.has_times:
        wrong = table[:, 0] != np.arange(len(table))
        if wrong.any():
            line = int(np.argmax(wrong))
            raise ValueError(f"{where}, line {line + 1}: expected frame {line}, found {table[line, 0]:g}")
        return RawFrames(table[:, 2:], table[:, 1])
    # Position and rotation of each joint: 3 numbers, then 4 of a quaternion.
    poses = table[:, -7 * track.joints :].reshape(len(table), track.joints, 7)
    return RawFrames(poses[:, :, :3].reshape(len(table), -1), None)


def _video(
    track: Track,
    key: str,
    subset: str,
    instances: list[Instance],
    number: int,
    borders_sec: NDArray[np.float64],
    rate_hz: float,
    problems: Problems,
) -> Video:
    leave_out, last_frame = problems.entry_of(key), len(borders_sec) - 2
    segments, labels, kept = [], [], []
    for each in instances:
        first, last = track.corrections.get((number, each.label, each.first, each.last), (each.first, each.last))
        begin, end = first - track.first_frame, min(last - track.first_frame, last_frame)
        if each.label not in track.classes or not 0 <= begin <= end:
            known = "" if each.label in track.classes else f"; the labels are {', '.join(track.classes)}"
            error = AnnotationError(
                f"{key}: {each.label} from frame {first} to {last} does not fit a recording of {last_frame + 1} frames"
                f"{known}"
            )
            leave_out(error)
            continue
        segments.append(frames_to_sec(borders_sec, begin, end))
        labels.append(track.classes.index(each.label))
        kept.append((first, last))
    extra = {"frames": kept, "first_frame": track.first_frame, "frame_borders_sec": borders_sec.tolist()}
    return Video(
        id=key,
        subset=subset,
        duration_sec=float(borders_sec[-1]),
        segments_sec=np.array(segments, np.float64).reshape(-1, 2),
        labels=np.array(labels, np.int64),
        fps=rate_hz,
        extra=extra,
    )


def load_track(
    track: Track,
    data_root: str | Path,
    *,
    samples_per_step: int = 1,
    centre: Centre = "none",
    velocities: bool = False,
    clip_sd: float = 0.0,
    signal_rate_hz: float | None = None,
    fold: int | None = None,
    num_folds: int = 5,
    seed: int = 0,
    strict: bool = False,
) -> DatasetBundle:
    """Read a track as a bundle; see `read_track` and `SignalSettings` for the arguments."""
    recordings = read_track(track, data_root, signal_rate_hz=signal_rate_hz, strict=strict)
    settings = SignalSettings(samples_per_step, centre, velocities, clip_sd, fold, num_folds)
    return signal_bundle(recordings, settings, seed=seed)


def open_track(
    track: Track,
    data_root: str | Path,
    *,
    samples_per_step: int = 1,
    centre: Centre = "none",
    velocities: bool = False,
    clip_sd: float = 0.0,
    signal_rate_hz: float | None = None,
    fold: int | None = None,
    num_folds: int = 5,
    strict: bool = False,
) -> DataSource:
    """Open a track, unchecked; see `read_track` and `SignalSettings` for the arguments."""
    settings = SignalSettings(samples_per_step, centre, velocities, clip_sd, fold, num_folds)
    recordings = read_track(track, data_root, signal_rate_hz=signal_rate_hz, strict=strict)
    return signal_source(signal_bundle(recordings, settings), data_root)


def read_track_signals(track: Track, data_root: str | Path) -> dict[str, NDArray[np.float32]]:
    """Read recordings alone, (N, C) by id, at the track's rate: the whole data set, or ``N.txt`` files by their names.

    Raises:
        FileNotFoundError: When there is no recording.
        ValueError: Naming the file and line of one that cannot be read.
    """
    root = Path(data_root)
    files = sorted(file for file in root.glob("*.txt") if file.stem.isdecimal()) if root.is_dir() else []
    if not files:
        return dict(read_track(track, root).signals)
    found = {}
    for file in files:
        raw = parse_frames(track, read_file(file), str(file))
        values = (
            raw.positions if raw.times_sec is None else resample(raw.times_sec, raw.positions, track.rate_hz).values
        )
        found[file.stem] = values.astype(np.float32)
    return found
