# SPDX-License-Identifier: Apache-2.0
"""What one worker does with some videos of a corpus: extracts, detects, and writes the part of each."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from asl_fast.corpus.corpus_videos import CorpusVideo
from asl_fast.corpus.parts import Outcome, Parts
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.detection.extracted import times
from asl_fast.detection.recordings import open_recordings
from asl_fast.detection.run import detect_recordings
from asl_fast.detection.trained import TrainedDetector, load_trained
from asl_fast.detection.writing import described
from asl_fast.formats.recording import Recording
from asl_fast.models.content import digest
from asl_fast.video.backbone import Backbone
from asl_fast.video.cached import expected_backbone, recipe_of
from asl_fast.video.extraction import extract_videos
from asl_fast.video.options import Recipe

_MOST_TRIES = 3
"""A video that ends a worker, as damage can end a decoder, would otherwise end one after the other for ever."""


@dataclass(frozen=True)
class Job:
    """What is done with every video, in values that travel to other machines.

    Attributes:
        run: Run folder or checkpoint, absolute, as every machine sees it.
        output: The table, likewise.
        checkpoint: As of `load_trained`.
        weights: Where the backbone's weights lie now; None is where they lay in training.
        changes: What is done otherwise than in training, see `TrainedDetector.with_post_processing`.
        keep_damaged: Detect before the damage of a damaged video.
        batch_size: Windows that the backbone gets at a time.
    """

    run: str
    output: str
    checkpoint: Literal["last", "best"] = "last"
    weights: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    keep_damaged: bool = False
    batch_size: int = 8


class Worker:
    """A detector and a backbone, loaded once.

    Args:
        job: What is done.
        device: Where both compute.
        cores: Processor cores that decoding may take.

    Raises:
        FileNotFoundError, ValueError, ImportError: As `load_trained` and `expected_backbone`; when the run does not
            say how its features were made of videos.
    """

    def __init__(self, job: Job, device: str = "cpu", cores: int = 1) -> None:
        self.job, self.cores = job, cores
        trained = load_trained(job.run, checkpoint=job.checkpoint, device=torch.device(device))
        self.trained: TrainedDetector = trained.with_post_processing(**job.changes)
        held = trained.dataset["manifest"]
        manifest = None if held is None else FeatureManifest(**held)
        if manifest is None:
            raise ValueError(f"--run {job.run} was not trained on features of videos")
        self.recipe: Recipe = recipe_of(manifest, None if job.weights is None else Path(job.weights))
        self.backbone: Backbone = expected_backbone(self.recipe, device, manifest.extraction)
        self._parts = Parts(Path(job.output))

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the detections, in plain values."""
        extraction = asdict(self.backbone.extraction) | {"weights": None}
        return {
            "checkpoint": digest(self.trained.detector.state_dict()),
            "classes": list(self.trained.class_names),
            "post-processing": asdict(self.trained.config.inference),
            "extraction": extraction,
        }

    def work(self, videos: Sequence[CorpusVideo]) -> list[Outcome]:
        """Do some videos, and write the part of each that is not there yet.

        Returns:
            What became of those that were done now.

        Raises:
            OSError: When a file cannot be written; what is wrong with a video is its outcome.
        """
        # Who was killed after writing some of them need not have them done again.
        missing = [video for video in videos if self._parts.status(video) is None]
        fresh = [video for video in missing if not self._parts.tries(video)]
        # Of a block with which a worker died, each alone: one of them may be why.
        blocks = [fresh, *([video] for video in missing if video not in fresh)]
        return [outcome for block in blocks for outcome in self._done(block)]

    def _done(self, block: Sequence[CorpusVideo]) -> list[Outcome]:
        most = max(map(self._parts.begin_try, block), default=0)
        if most < _MOST_TRIES:
            outcomes = self.outcomes(block)
        else:
            outcomes = [
                Outcome(video, None, f"{most} workers ended while they were at {video.path}") for video in block
            ]
        for outcome in outcomes:
            self._parts.write(outcome)
        return outcomes

    def outcomes(self, videos: Sequence[CorpusVideo]) -> list[Outcome]:
        """Extract and detect; write nothing that stays."""
        if not videos:
            return []
        # Numbers in place of names, which may contain folders.
        by_key = {f"video{number:06d}": video for number, video in enumerate(videos)}
        with tempfile.TemporaryDirectory(prefix="asl-fast-") as place:
            done = extract_videos(
                {key: Path(video.path) for key, video in by_key.items()},
                Path(place, "features"),
                self.backbone,
                self.recipe,
                batch_size=self.job.batch_size,
                cores=self.cores,
                keep_damaged=self.job.keep_damaged,
                all_may_fail=True,
            )
            errors = {**done.cut, **{key: str(error) for key, error in done.skipped.items()}}
            found: dict[str, Recording] = {}
            if done.facts:
                opened = open_recordings((done.folder,), self.trained.dataset, **times(done.facts))
                for key in done.facts:
                    # One at a time: what else is in a batch would show in the last digits of the scores.
                    try:
                        alone = detect_recordings(self.trained, replace(opened, names=(key,)), batch_size=1)
                    except ValueError as error:
                        where = str(done.folder / f"{key}.npy")
                        errors[key] = str(error).replace(where, by_key[key].path).replace(key, by_key[key].name)
                        continue
                    (found[key],) = described(alone, self.trained)
        return [Outcome(video, self._named(found.get(key), video), errors.get(key)) for key, video in by_key.items()]

    @staticmethod
    def _named(found: Recording | None, video: CorpusVideo) -> Recording | None:
        return None if found is None else replace(found, name=video.name)
