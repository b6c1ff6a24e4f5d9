# SPDX-License-Identifier: Apache-2.0
"""What a run measures at Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from asl_fast.training.callback import UNITS, Callback, Record, RunStart, numbers
from asl_fast.training.loggers.memory import note, recall
from asl_fast.training.serialization import to_dict

_PROJECT = "asl-fast"


class WandbLogger(Callback):
    """Sends records to wandb, whose own variables say where: ``WANDB_PROJECT``, ``WANDB_ENTITY``, ``WANDB_MODE``.

    ``WANDB_MODE=offline`` keeps them in ``wandb`` of the run folder, for ``wandb sync``.
    """

    name = "wandb"

    def __init__(self) -> None:
        self._run: Any = None
        self._start: RunStart | None = None
        self._next_step = 0

    def started(self, run: RunStart) -> None:
        """Begin a run there, or go on with the one that a resumed run began.

        Raises:
            Exception: What wandb raises without a key or a network.
        """
        import wandb

        before = recall(run.folder, self.name)
        self._next_step = before.get("next_step", 0)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=run.folder.path.name,
            dir=os.fspath(run.folder.path),
            id=before.get("id"),
            resume="allow",
            config={**to_dict(run.config), "units": dict(UNITS)},
            # What is printed is the run's own.
            settings=wandb.Settings(console="off", silent=True),
        )
        self._start = run
        self._note()
        if not self._run.offline:
            print(f"  wandb shows this run at {self._run.url}", flush=True)

    def logged(self, records: Sequence[Record]) -> None:
        """Send ``step/total``, ``epoch/seconds`` and so on; what an earlier start of the run has sent is left out."""
        for record in records:
            if record["step"] >= self._next_step:
                found = {f"{record['kind']}/{name}": value for name, value in numbers(record).items()}
                self._run.log({**found, "epoch": record["epoch"]}, step=record["step"])
        self._next_step = max(self._next_step, *(record["step"] + 1 for record in records))
        self._note()

    def ended(self) -> None:
        """Wait until everything is sent."""
        self._run.finish()

    def failed(self, error: BaseException) -> None:
        """Mark the run as failed."""
        self._run.finish(exit_code=255 if isinstance(error, KeyboardInterrupt) else 1)

    def _note(self) -> None:
        assert self._start is not None
        note(self._start.folder, self.name, {"id": self._run.id, "next_step": self._next_step})
