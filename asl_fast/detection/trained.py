# SPDX-License-Identifier: Apache-2.0
"""A trained detector out of its run folder, ready to detect; this needs the checkpoint alone, no data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from asl_fast.data.collate import collate
from asl_fast.data.dataset import Sample
from asl_fast.models.detector import ActionDetector
from asl_fast.models.postprocess import Detections
from asl_fast.training.checkpoint import check_finite, load_checkpoint
from asl_fast.training.config import TrainConfig
from asl_fast.training.distributed import uses_bf16
from asl_fast.training.run_folder import RunFolder
from asl_fast.training.scoring import NonFiniteOutputError, detect_batch
from asl_fast.training.serialization import from_dict


@dataclass(frozen=True)
class TrainedDetector:
    """A detector with its averaged weights.

    Attributes:
        detector: The model, in evaluation mode.
        config: How it was trained.
        dataset: What it has to know about its data set, see `asl_fast.training.run.describe_dataset`.
        epoch: Epochs it was trained for.
        path: The checkpoint it comes from.
    """

    detector: ActionDetector
    config: TrainConfig
    dataset: dict[str, Any]
    epoch: int
    path: Path

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names by label."""
        return tuple(self.dataset["class_names"])

    def detect(
        self,
        samples: Iterable[Sample],
        *,
        batch_size: int = 4,
        on_failure: Callable[[Sample, NonFiniteOutputError], None] | None = None,
    ) -> Iterator[tuple[Sample, Detections]]:
        """Detect in every sample, in order, in seconds; batches are padded to their longest sample.

        Args:
            samples: Recordings.
            batch_size: Samples per batch.
            on_failure: Called for a sample for which the network gives NaN or infinity, which is then left out; None
                raises the error.

        Raises:
            NonFiniteOutputError: Naming such a sample.
        """
        waiting: list[Sample] = []
        for sample in samples:
            waiting.append(sample)
            if len(waiting) == batch_size:
                yield from self._detect(waiting, on_failure)
                waiting = []
        if waiting:
            yield from self._detect(waiting, on_failure)

    def _detect(
        self, samples: list[Sample], on_failure: Callable[[Sample, NonFiniteOutputError], None] | None
    ) -> Iterator[tuple[Sample, Detections]]:
        batch = collate(samples, pad_multiple=self.detector.length_multiple)
        autocast = uses_bf16(self.config.precision, next(self.detector.parameters()).device)
        try:
            found = detect_batch(self.detector, batch, self.config.inference, autocast=autocast)
        except NonFiniteOutputError as error:
            if on_failure is None:
                raise
            on_failure(samples[error.index], error)
            # The others of the batch once more without the one that failed, until none does.
            if rest := [*samples[: error.index], *samples[error.index + 1 :]]:
                yield from self._detect(rest, on_failure)
            return
        yield from zip(samples, found, strict=True)


def load_trained(
    run: str | Path, *, checkpoint: Literal["last", "best"] = "last", device: torch.device | str = "cpu"
) -> TrainedDetector:
    """Load the detector of a run.

    Args:
        run: Run folder, or a checkpoint file.
        checkpoint: "last", or "best", the one that scored highest on the test split while training, which makes its
            score there an optimistic one.
        device: Where the detector is put.

    Raises:
        FileNotFoundError: For a folder without such a checkpoint.
        ValueError: For a damaged checkpoint.
    """
    run = Path(run)
    if not run.exists():
        raise FileNotFoundError(f"run folder {run} does not exist; train one with python -m asl_fast.train")
    path = run
    if run.is_dir():
        folder = RunFolder(run)
        path = folder.last if checkpoint == "last" else folder.best
    content = load_checkpoint(path)
    check_finite(content, ["average"], path)
    config = from_dict(TrainConfig, content["config"], str(path))
    detector = ActionDetector(config.model)
    detector.load_state_dict(content["average"]["module"])
    return TrainedDetector(detector.to(device).eval(), config, content["dataset"], int(content["epoch"]), path)
