# SPDX-License-Identifier: Apache-2.0
"""What is found in a corpus, in Parquet: one small file for each video while the work goes on, one table at its end.

Beside ``out.parquet`` lies ``out.parquet.parts``, with ``run.json``, which says whose detections these are, and a part
for each video that is done. The name of a part follows from the name of its video alone, and a part is written whole
or not at all. So whoever is killed, and however often a video is done again, it is there once or not yet; the next call
does what is not there yet. The table is put together from the parts, and is also whole or not there.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from asl_fast.corpus.corpus_videos import CorpusVideo
from asl_fast.files import atomic_write, read_json, write_json
from asl_fast.formats.recording import Recording

DONE, CUT, FAILED = "done", "cut", "failed"
"""Status of a video: read to its end; only to its damage, which was asked for; nothing could be made of it."""

SCHEMA = pa.schema(
    [
        pa.field("video", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("start_sec", pa.float64()),
        pa.field("end_sec", pa.float64()),
        pa.field("score", pa.float64()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("error", pa.string()),
        pa.field("duration_sec", pa.float64()),
        pa.field("fps", pa.float64()),
        pa.field("path", pa.string(), nullable=False),
    ]
)
"""A row for each detection; a video without any, and one that failed, has one row without label, times and score."""

_FILE_KEYS = ("size", "modified_ns")
_RUN = "run.json"
_SHOWN = 10


@dataclass(frozen=True)
class Outcome:
    """What became of one video.

    Attributes:
        video: The video.
        found: What was found in it; None where nothing could be made of it.
        error: What is wrong with it.
    """

    video: CorpusVideo
    found: Recording | None
    error: str | None = None

    @property
    def status(self) -> str:
        """One of ``DONE``, ``CUT`` and ``FAILED``."""
        return FAILED if self.found is None else DONE if self.error is None else CUT


@dataclass(frozen=True)
class Merged:
    """What is in a table.

    Attributes:
        detections: How many.
        statuses: How many videos have each status.
        problems: The first of what is wrong with videos, in words.
    """

    detections: int
    statuses: Mapping[str, int]
    problems: list[str]


class Parts:
    """The parts beside a table.

    Args:
        output: The table.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.folder = output.with_name(f"{output.name}.parts")

    def claim(self, identity: Mapping[str, Any]) -> None:
        """Make the folder for the detections of one run.

        Args:
            identity: What decides detections, in plain values.

        Raises:
            ValueError: When the folder holds those of another run, or a table lies there without parts.
        """
        file = self.folder / _RUN
        identity = json.loads(json.dumps(identity))  # as it will be read, where a tuple is a list
        if file.is_file():
            held = read_json(file)
            for key in {**identity, **held}:
                if held.get(key) != identity.get(key):
                    raise ValueError(
                        f"--output {self.output}: {self.folder} holds detections of another run ({key} differs); name "
                        "another output, or remove both to begin anew"
                    )
            return
        if self.output.exists():
            raise ValueError(
                f"--output {self.output} exists, and no {self.folder} says whose detections it holds; name another "
                "output, or remove it"
            )
        self.folder.mkdir(exist_ok=True)
        write_json(file, dict(identity), indent=1)

    def path(self, video: CorpusVideo) -> Path:
        """Return the part of a video; 256 folders, as one with very many files is slow to list."""
        key = hashlib.sha256(video.name.encode()).hexdigest()[:32]
        return self.folder / key[:2] / f"{key}.parquet"

    def status(self, video: CorpusVideo) -> str | None:
        """Return the status of a video that is done, of just this file; None for any other."""
        try:
            held = pq.read_schema(self.path(video)).metadata or {}
        except (OSError, pa.ArrowInvalid):
            return None
        same = all(held.get(key.encode()) == str(getattr(video, key)).encode() for key in _FILE_KEYS)
        return held[b"status"].decode() if same and b"status" in held else None

    def write(self, outcome: Outcome) -> None:
        """Write the part of a video, in the place of an earlier one.

        Raises:
            OSError: Naming the file that cannot be written.
        """
        video = outcome.video
        facts = {key: str(getattr(video, key)) for key in _FILE_KEYS} | {"status": outcome.status}
        path = self.path(video)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            pq.write_table(pa.Table.from_pylist(_rows(outcome), SCHEMA).replace_schema_metadata(facts), file)
        self._tries(video).unlink(missing_ok=True)

    def begin_try(self, video: CorpusVideo) -> int:
        """Note that a worker begins with a video; return how many have begun before and never came to its end."""
        file = self._tries(video)
        file.parent.mkdir(parents=True, exist_ok=True)
        before = file.stat().st_size if file.is_file() else 0
        with file.open("ab") as tries:
            tries.write(b".")
        return before

    def tries(self, video: CorpusVideo) -> int:
        """Return how many workers have begun with a video that is not done."""
        file = self._tries(video)
        return file.stat().st_size if file.is_file() else 0

    def forget(self, video: CorpusVideo) -> None:
        """Let a video be tried as if for the first time."""
        for path in (self.path(video), self._tries(video)):
            path.unlink(missing_ok=True)

    def _tries(self, video: CorpusVideo) -> Path:
        return self.path(video).with_suffix(".tries")

    def merge(self, videos: Sequence[CorpusVideo]) -> Merged:
        """Put the table together from the parts of these videos, all of which are done.

        Raises:
            OSError: Naming the file that cannot be written.
        """
        detections = 0
        statuses: Counter[str] = Counter()
        problems: list[str] = []
        with atomic_write(self.output) as file, pq.ParquetWriter(file, SCHEMA) as writer:
            waiting: list[Any] = []
            for video in videos:
                table = pq.read_table(self.path(video), partitioning=None).replace_schema_metadata(None)
                detections += table.num_rows - table["label"].null_count
                status, error = (table[name][0].as_py() for name in ("status", "error"))
                statuses[status] += 1
                if error is not None and len(problems) < _SHOWN:
                    problems.append(f"{video.name} {status}: {error}")
                waiting.append(table)
                # Row groups of some size: one for each video would make a large table slow to read.
                if sum(each.num_rows for each in waiting) >= 1 << 16:
                    writer.write_table(pa.concat_tables(waiting))
                    waiting = []
            if waiting:
                writer.write_table(pa.concat_tables(waiting))
        return Merged(detections, dict(statuses), problems)


def _rows(outcome: Outcome) -> list[dict[str, Any]]:
    """Return the rows of a video, detections by falling score."""
    found = outcome.found
    common = {
        "video": outcome.video.name,
        "status": outcome.status,
        "error": outcome.error,
        "duration_sec": None if found is None else found.duration_sec,
        "fps": None if found is None else found.fps,
        "path": outcome.video.path,
    }
    return [common | action._asdict() for action in (found.actions if found is not None else ())] or [common]
