# SPDX-License-Identifier: Apache-2.0
"""What a run measures as TensorBoard events."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from asl_fast.training.callback import Callback, Record, RunStart, numbers
from asl_fast.training.serialization import to_dict


class TensorBoardLogger(Callback):
    """Writes event files into ``tensorboard`` of the run folder; ``tensorboard --logdir runs`` shows all runs."""

    name = "tensorboard"

    def __init__(self) -> None:
        self._writer: Any = None

    def started(self, run: RunStart) -> None:
        """Open the files; what they hold of the steps that a resumed run repeats is shown no more."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run.folder.tensorboard), purge_step=run.first_step)
        # Four blanks make TensorBoard show it as it is.
        text = json.dumps(to_dict(run.config), indent=2)
        self._writer.add_text("config", "\n".join(f"    {line}" for line in text.splitlines()), run.first_step)

    def logged(self, records: Sequence[Record]) -> None:
        """Write ``step/total``, ``epoch/seconds``, ``evaluation/average_map`` and so on."""
        for record in records:
            for name, value in numbers(record).items():
                self._writer.add_scalar(f"{record['kind']}/{name}", value, record["step"])
        self._writer.flush()

    def ended(self) -> None:
        """Close the files."""
        self._writer.close()

    def failed(self, error: BaseException) -> None:
        """Close the files."""
        self._writer.close()
