# SPDX-License-Identifier: Apache-2.0
"""Tables of what a run measures, one for each kind of record: steps, epochs, evaluations."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from asl_fast.files import read_csv, write_text
from asl_fast.training.callback import Callback, Record, RunStart, numbers

_KEYS = ("epoch", "step")


class CsvLogger(Callback):
    """Writes ``csv/step.csv``, ``csv/epoch.csv`` and ``csv/evaluation.csv`` into the run folder."""

    name = "csv"

    def __init__(self) -> None:
        self._tables: dict[str, _Table] = {}
        self._folder = Path()

    def started(self, run: RunStart) -> None:
        """Make the folder; a resumed run drops the rows of epochs that it repeats."""
        self._folder = run.folder.csv
        self._folder.mkdir(exist_ok=True)
        for path in self._folder.glob("*.csv"):
            self._tables[path.stem] = _Table(path, run.first_epoch)

    def logged(self, records: Sequence[Record]) -> None:
        """Append a row for each record."""
        for kind in dict.fromkeys(record["kind"] for record in records):
            if kind not in self._tables:
                self._tables[kind] = _Table(self._folder / f"{kind}.csv", 0)
            self._tables[kind].append([record for record in records if record["kind"] == kind])


class _Table:
    """One file; its columns grow where later records have more numbers, as after other thresholds."""

    def __init__(self, path: Path, first_epoch: int) -> None:
        self.path = path
        self.columns: list[str] = []
        if path.exists():
            rows = read_csv(path, _KEYS)
            self.columns = list(rows[0]) if rows else []
            self._rewrite([row for row in rows if int(row["epoch"]) < first_epoch])

    def append(self, records: Sequence[Record]) -> None:
        """Add rows, and wait until they are on disk."""
        rows = [{key: repr(record[key]) for key in (*_KEYS, *numbers(record))} for record in records]
        further = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in self.columns]
        if further:
            before = read_csv(self.path, _KEYS) if self.columns and self.path.exists() else []
            self.columns += further
            self._rewrite([*before, *rows])
            return
        with open(self.path, "a", encoding="utf-8", newline="") as file:
            file.write(_text(self.columns, rows))
            file.flush()
            os.fsync(file.fileno())

    def _rewrite(self, rows: Iterable[dict[str, str]]) -> None:
        if self.columns:
            header = _text(self.columns, [{name: name for name in self.columns}])
            write_text(self.path, header + _text(self.columns, rows))


def _text(columns: Sequence[str], rows: Iterable[dict[str, str]]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, columns, restval="", lineterminator="\n").writerows(rows)
    return text.getvalue()
