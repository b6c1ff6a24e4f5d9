# SPDX-License-Identifier: Apache-2.0
"""The files that detections go into: checked before the work, written after it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import overload

from asl_fast.detection.run import Found, write_found
from asl_fast.detection.trained import TrainedDetector
from asl_fast.formats.known import EACH, SUBTITLES, Places, write
from asl_fast.formats.recording import Action, Origin, Recording, most_at_once
from asl_fast.wording import count

# More cues than a player shows below one another without covering the picture.
_READABLE_CUES = 3


def check_folder(target: Places) -> None:
    """Make sure that there can be a folder for a file of each recording, where one is asked for.

    Raises:
        OSError: Naming the folder that is not there or cannot be written, or what lies in its place.
    """
    if (folder := target.folder) is not None:
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(
                f"--output: {', '.join(target.each)} have a file for each recording, and {folder} is no folder for "
                "them; name another"
            )
        above = folder if folder.exists() else folder.parent
        if not above.is_dir():
            raise FileNotFoundError(f"--output {folder}: folder {above} does not exist")
        if not os.access(above, os.W_OK):
            raise PermissionError(f"--output {folder}: folder {above} cannot be written")


def check_single(target: Places, num_recordings: int) -> None:
    """Make sure that one file is enough.

    Raises:
        ValueError: When it was named for several recordings.
    """
    if target.single is not None and num_recordings > 1:
        raise ValueError(
            f"--output {target.single} is one file for {count(num_recordings, 'recording')}: name a folder, which "
            f"gets a {EACH[target.each[0]][0]} file of each"
        )


def write_formats(target: Places, found: Found, trained: TrainedDetector) -> list[Path]:
    """Write detections in every format that was asked for; return the files.

    Raises:
        OSError: Naming the file that cannot be written.
    """
    written: list[Path] = []
    if target.json is not None:
        write_found(target.json, found, trained)
        written.append(target.json)
    origin = Origin(f"{trained.path} epoch {trained.epoch}", tuple(trained.class_names))
    return written + write(target, described(found, trained), origin)


def described(found: Found, trained: TrainedDetector) -> Sequence[Recording]:
    """Put what was found into words: classes by name, times in seconds; each recording when it is asked for."""
    return _Described(found, trained.class_names)


class _Described(Sequence[Recording]):
    """Recordings of which one at a time is in memory: in Python's numbers they take ten times as much as in tensors."""

    def __init__(self, found: Found, class_names: Sequence[str]) -> None:
        self._found = found
        self._class_names = class_names
        self._names = list(found.detections)

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> Recording: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Recording]: ...
    def __getitem__(self, index: int | slice) -> Recording | Sequence[Recording]:
        if isinstance(index, slice):
            return [self._recording(name) for name in self._names[index]]
        return self._recording(self._names[index])

    def _recording(self, name: str) -> Recording:
        each = self._found.detections[name]
        rows = zip(each.segments.double().tolist(), each.labels.tolist(), each.scores.double().tolist(), strict=True)
        actions = tuple(Action(start, end, self._class_names[label], score) for (start, end), label, score in rows)
        return Recording(name, self._found.durations_sec[name], self._found.fps[name], actions)


def listed(files: Sequence[Path], folder: Path | None) -> str:
    """Name the files that were written; those in the folder of single recordings by their number."""
    shown = [str(path) for path in files if path.parent != folder]
    endings = Counter(path.suffix for path in files if path.parent == folder)
    shown += [f"{count(number, 'file')} {folder}/*{ending}" for ending, number in endings.items()]
    return " and ".join(filter(None, (", ".join(shown[:-1]), *shown[-1:]))) or "no file"


def crowded_subtitles(target: Places, recordings: Sequence[Recording]) -> str | None:
    """Say how to thin subtitles out that show too much at a time; None where they can be read."""
    if not set(target.each) & set(SUBTITLES):
        return None
    most = max((most_at_once(each.actions) for each in recordings), default=0)
    if most <= _READABLE_CUES:
        return None
    limit = next((score for score in _limits() if _most_above(recordings, score) <= _READABLE_CUES), 0.95)
    return (
        f"up to {most} actions at a time are in the subtitles; --min-score {limit:.2f} --score-threshold {limit:.2f} "
        "leaves the surer ones"
    )


def _limits() -> list[float]:
    return [number / 20 for number in range(1, 20)]


def _most_above(recordings: Sequence[Recording], score: float) -> int:
    return max(most_at_once(action for action in each.actions if action.score >= score) for each in recordings)
