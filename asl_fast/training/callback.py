# SPDX-License-Identifier: Apache-2.0
"""What a training run tells whoever listens: loggers, and callbacks of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from asl_fast.training.config import TrainConfig
from asl_fast.training.run_folder import RunFolder

Record = Mapping[str, Any]
"""What was measured: ``kind`` ("step", "epoch" or "evaluation"), ``epoch`` and ``step``, both counted from 0, and
numbers. Those of a step are the terms of the loss, the learning rate and the norm of the gradient; those of an epoch
are their means and its seconds; those of an evaluation are scores in [0, 1]."""

UNITS: Mapping[str, str] = MappingProxyType(
    {
        "lr": "change of a weight per step",
        "grad_norm": "norm before clipping",
        "num_positives": "points per batch",
        "seconds": "s",
    }
)
"""Units of the numbers in a `Record`; terms of the loss and scores have none."""


@dataclass(frozen=True)
class RunStart:
    """What a run knows when its first step is due.

    Attributes:
        config: What it was asked for.
        folder: Where it writes.
        first_epoch: Epochs that are done already, more than 0 in a resumed run.
        first_step: Steps that are done already. A resumed run may repeat steps that a killed one has told of: records
            from this step on replace what was told before.
    """

    config: TrainConfig
    folder: RunFolder
    first_epoch: int = 0
    first_step: int = 0


class Callback:
    """Is told how a training run goes; override what is of interest.

    Only the first process of a run tells, between two steps. What `started` raises stops the run before its first step.
    What the others raise is said once, then the callback hears no more and training goes on: no run is lost because
    its log cannot be reached. ``KeyboardInterrupt`` and ``SystemExit`` still end it, and the checkpoint of the epoch
    before is kept.

    Example:
        Print every evaluation::

            from asl_fast.training.callback import Callback
            from asl_fast.training.request import parse
            from asl_fast.training.run import run

            class Watch(Callback):
                def logged(self, records):
                    for record in records:
                        if record["kind"] == "evaluation":
                            print(record["epoch"], record["average_map"])

            words = ["--dataset", "multithumos", "--preset", "smoke"]
            run(parse(words), words, callbacks=[Watch()])

    Attributes:
        name: How messages call it.
    """

    name = ""

    def started(self, run: RunStart) -> None:
        """Hear that the first step is due."""

    def logged(self, records: Sequence[Record]) -> None:
        """Hear what an epoch measured, when it is over: its steps, the epoch, and the evaluation where one was due."""

    def ended(self) -> None:
        """Hear that the last epoch is over and its checkpoint written."""

    def failed(self, error: BaseException) -> None:
        """Hear that the run stops early; ``error`` is a ``KeyboardInterrupt`` after Ctrl-C."""


def numbers(record: Record) -> dict[str, float]:
    """Return the numbers that were measured, without the epoch and the step."""
    return {name: value for name, value in record.items() if isinstance(value, float)}
