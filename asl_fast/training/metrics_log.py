# SPDX-License-Identifier: Apache-2.0
"""What a run measures as it goes: its records on disk, and the progress bar of the steps between them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from asl_fast.evaluation.protocols import ProtocolResult
from asl_fast.files import atomic_write, remedy, require_file
from asl_fast.training.scoring import summary

if TYPE_CHECKING:
    from tqdm import tqdm

T = TypeVar("T")


class MetricsLog:
    """The records in ``metrics.jsonl``; all of an epoch are appended at once, so that a killed epoch leaves nothing.

    A record has a ``kind`` ("step", "epoch" or "evaluation"), an ``epoch``, a ``step`` and numbers.

    Args:
        path: The JSON lines file.
        first_epoch: Records of this epoch and later ones are removed, as a resumed run writes them again.

    Raises:
        OSError: Naming the file, when it cannot be written.
    """

    def __init__(self, path: Path, *, first_epoch: int = 0) -> None:
        self.path = path
        kept = [record for record in read_metrics(path) if record["epoch"] < first_epoch]
        with atomic_write(path) as file:
            file.write(_lines(kept))

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Write the records and wait until they are on disk.

        Raises:
            OSError: Naming the file, when it cannot be written.
        """
        try:
            with open(self.path, "ab") as file:
                file.write(_lines(records))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise type(error)(f"cannot write {self.path}: {error.strerror or error}{remedy(error)}") from None


def _lines(records: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the records of a metrics file; a last line that was cut off is left out.

    Raises:
        ValueError: Naming the file and the line that is no record.
    """
    if not path.exists():
        return []
    require_file(path)
    lines = path.read_bytes().splitlines()
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            if number == len(lines):
                break
            record = None
        if not isinstance(record, dict) or type(record.get("epoch")) is not int:
            raise ValueError(f"{path}, line {number}: no record of this run; remove the line, or the file")
        records.append(record)
    return records


def progress_bar(items: Iterator[T], *, total: int, name: str, shown: bool) -> tqdm[T]:
    """Iterate with a bar that vanishes when it is full; there is none where the output is no terminal."""
    from tqdm import tqdm  # a training step alone, as a benchmark runs it, needs no bar

    return tqdm(items, total=total, desc=name, leave=False, disable=None if shown else True)


def epoch_record(steps: Sequence[dict[str, Any]], padding: float, seconds: float) -> dict[str, Any]:
    """Average the records of an epoch's steps.

    Args:
        steps: The records.
        padding: Share of the grid steps of all batches that held no data.
        seconds: How long the epoch took.
    """
    names = [name for name, value in steps[0].items() if isinstance(value, float)]
    means = {name: sum(step[name] for step in steps) / len(steps) for name in names}
    where = {name: steps[-1][name] for name in ("epoch", "step")}
    return {"kind": "epoch", **where, **means, "padding": padding, "seconds": seconds}


def evaluation_record(epoch: dict[str, Any], scores: ProtocolResult) -> dict[str, Any]:
    """Put down the scores after an epoch, whose record says where that was."""
    return {"kind": "evaluation", "epoch": epoch["epoch"], "step": epoch["step"], **summary(scores)}
