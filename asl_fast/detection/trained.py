# SPDX-License-Identifier: Apache-2.0
"""A trained detector out of its run folder, ready to detect; this needs the checkpoint alone, no data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from asl_fast.data.collate import Batch, collate
from asl_fast.data.dataset import Sample
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.grid import FeatureGrid
from asl_fast.data.transform import FeatureTransform
from asl_fast.models.config import DetectorConfig
from asl_fast.models.detector import ActionDetector
from asl_fast.models.postprocess import Detections, detect
from asl_fast.models.pretrained import CONFIG, WEIGHTS, read_pretrained_config
from asl_fast.models.windows import Window, windows_of
from asl_fast.training.checkpoint import CheckpointError, check_finite, load_checkpoint, saved_config
from asl_fast.training.config import TrainConfig
from asl_fast.training.distributed import computes_in_bf16, uses_bf16
from asl_fast.training.inference import NonFiniteOutputError, Recording, detect_batch, long_candidates
from asl_fast.training.metrics_log import progress_bar
from asl_fast.training.ranges import check_ranges
from asl_fast.training.restoring import check_keys, check_weights
from asl_fast.training.run_folder import RunFolder


@dataclass(frozen=True)
class TrainedDetector:
    """A detector with its averaged weights.

    Attributes:
        detector: The model, in evaluation mode.
        config: How it was trained.
        dataset: What it has to know about its data set, see `asl_fast.training.data.describe_dataset`.
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

    def with_post_processing(self, **changes: Any) -> TrainedDetector:
        """Return the same detector with other post-processing.

        Args:
            **changes: Fields of `asl_fast.models.config.InferenceConfig`.

        Raises:
            ValueError: Naming the field, the value found and what is allowed; or the field that has no effect beside
                the way of suppression.
        """
        if not changes:
            return self
        config = replace(self.config, inference=replace(self.config.inference, **changes))
        check_ranges(config)
        config.inference.check_effect(changes)
        return replace(self, config=config)

    def with_precision(self, precision: Literal["auto", "fp32", "bf16"]) -> TrainedDetector:
        """Return the same detector that computes in other numbers; the weights stay float32.

        Args:
            precision: As of `asl_fast.training.distributed.uses_bf16`.

        Raises:
            ValueError: For bfloat16 where it would be emulated.
        """
        device = next(self.detector.parameters()).device
        if precision == "bf16" and not computes_in_bf16(device):
            raise ValueError(
                f"--precision bf16: {'this GPU' if device.type == 'cuda' else 'this processor'} does not compute in "
                "bfloat16 (or this release of PyTorch cannot tell), and emulated it is several times slower than "
                "float32; auto takes bfloat16 wherever it is faster"
            )
        return replace(self, config=replace(self.config, precision=precision))

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

    def detect_long(self, recording: Recording) -> Detections:
        """Detect in one recording window by window, which are read one after the other; in seconds.

        Raises:
            NonFiniteOutputError: When the network gives NaN or infinity.
            ValueError: Naming the file, for features that cannot be used.
        """
        autocast = uses_bf16(self.config.precision, next(self.detector.parameters()).device)
        number = len(list(windows_of(self.detector, recording.num_steps)))

        def shown(windows: Iterator[Window]) -> Iterator[Window]:
            return iter(progress_bar(windows, total=number, name=f"detecting in {recording.video_id}", shown=True))

        inference = self.config.inference
        levels = long_candidates(
            self.detector,
            recording,
            inference,
            autocast=autocast,
            padded_steps=self._padded_steps(recording.num_steps),
            each=shown,
        )
        (found,) = detect([levels], grids=[recording.grid], durations_sec=[recording.duration_sec], config=inference)
        return found

    def _padded_steps(self, num_steps: int) -> int | None:
        """Return the length that a recording has to be padded to; None where that does not matter."""
        return None

    def _batch(self, samples: list[Sample]) -> Batch:
        return collate(samples, pad_multiple=self.detector.length_multiple)

    def _detect(
        self, samples: list[Sample], on_failure: Callable[[Sample, NonFiniteOutputError], None] | None
    ) -> Iterator[tuple[Sample, Detections]]:
        batch = self._batch(samples)
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
        run: Run folder, a checkpoint file, or a folder that ``python -m asl_fast.export --to safetensors`` wrote.
        checkpoint: "last", or "best", the one that scored highest on the test split while training, which makes its
            score there an optimistic one.
        device: Where the detector is put.

    Raises:
        FileNotFoundError: For a folder without such a checkpoint.
        ValueError: For a damaged checkpoint; when the best is asked for of one that is the only one.
    """
    run = Path(run)
    if not run.exists():
        raise FileNotFoundError(f"run folder {run} does not exist; train one with python -m asl_fast.train")
    exported = (run / WEIGHTS).is_file()
    if checkpoint == "best" and (exported or not run.is_dir()) and run.name != RunFolder(run).best.name:
        raise ValueError(f"{run} is one checkpoint: the best of several is in a run folder")
    if exported:
        return _load_exported(run, device)
    path = run
    if run.is_dir():
        folder = RunFolder(run)
        path = folder.last if checkpoint == "last" else folder.best
    content = load_checkpoint(path)
    check_keys(content, ("config", "dataset", "average", "epoch"), path)
    config = saved_config(content, path)
    weights = content["average"].get("module")
    try:
        # Without memory first, as a wrong configuration may ask for any size.
        with torch.device("meta"):
            expected = ActionDetector(config.model).state_dict()
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: {error}") from None
    check_weights(weights, expected, "average", path)
    check_finite(content, ["average"], path)
    check_dataset(content["dataset"], config.model, path)
    detector = ActionDetector(config.model)
    detector.load_state_dict(weights)
    return TrainedDetector(detector.to(device).eval(), config, content["dataset"], int(content["epoch"]), path)


def _load_exported(folder: Path, device: torch.device | str) -> TrainedDetector:
    path = folder / CONFIG
    content = read_pretrained_config(path)
    check_keys(content, ("config", "dataset", "epoch"), path)
    config = saved_config(content, path)
    check_dataset(content["dataset"], config.model, path)
    detector = ActionDetector.from_pretrained(folder)
    return TrainedDetector(detector.to(device), config, content["dataset"], content["epoch"], folder / WEIGHTS)


def check_dataset(dataset: Mapping[str, Any], model: DetectorConfig, path: Path) -> None:
    """Check that a checkpoint says of its data set what detection has to know.

    Args:
        dataset: What it says, see `asl_fast.training.data.describe_dataset`.
        model: Of the same checkpoint.
        path: Where the checkpoint lies, for the message.

    Raises:
        CheckpointError: Naming the key that is missing or does not fit.
    """
    for key in ("name", "synthetic", "class_names", "feature_dim", "grid", "manifest", "transform"):
        if key not in dataset:
            raise CheckpointError(f"{path} lacks 'dataset.{key}'; use another checkpoint or train again")
    for key, found, expected in (
        ("class_names", len(dataset["class_names"]), model.num_classes),
        ("feature_dim", dataset["feature_dim"], model.feature_dim),
    ):
        if found != expected:
            raise CheckpointError(f"{path}: 'dataset.{key}' says {found}, but its detector has {expected}")
    try:
        FeatureGrid(**dataset["grid"])
        if dataset["manifest"] is not None:
            FeatureManifest(**dataset["manifest"])
        if dataset["transform"] is not None:
            FeatureTransform.from_state(dataset["transform"])
    except (TypeError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: 'dataset' cannot be used: {error}") from None
