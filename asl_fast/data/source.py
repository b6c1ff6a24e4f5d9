# SPDX-License-Identifier: Apache-2.0
"""A data set that has been found but not yet checked: annotations, split, features, and how they lie in time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from asl_fast.data.annotations.problems import Problems
from asl_fast.data.annotations.video import Annotations, Video
from asl_fast.data.bundle import DatasetBundle
from asl_fast.data.dataset import DetectionDataset
from asl_fast.data.features.check import check_videos
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.features.packed_store import store_note
from asl_fast.data.features.store import NamedFeatureStore
from asl_fast.data.finding import Finding
from asl_fast.data.transform import FeatureTransform
from asl_fast.wording import count


@dataclass(frozen=True, eq=False)
class DataSource:
    """Where a data set's parts come from, and the parts themselves.

    Args:
        name: Name of the data set.
        annotations: All of its videos, whether in a split or not.
        train: Videos to train on.
        test: Videos to score on.
        store: Features.
        layout: How they were extracted.
        annotation_path: File or folder that the annotations were read from.
        feature_paths: Folders or files that the features come from.
        transform: What made the features of raw signals; None where they are used as read.
        findings: What was odd about times and channels when it was opened; training refuses the problems among them.
        unusable: Annotated videos that are left out as their recording is of no use: id -> what is wrong.
    """

    name: str
    annotations: Annotations
    train: tuple[Video, ...]
    test: tuple[Video, ...]
    store: NamedFeatureStore
    layout: FeatureManifest
    annotation_path: Path
    feature_paths: tuple[Path, ...]
    transform: FeatureTransform | None = None
    findings: tuple[Finding, ...] = ()
    unusable: Mapping[str, str] = field(default_factory=dict)

    @property
    def videos(self) -> tuple[Video, ...]:
        """Videos of both splits."""
        return (*self.train, *self.test)

    def bundle(
        self,
        *,
        max_length: int | None,
        truncation_threshold: float,
        verify: bool,
        seed: int,
        strict: bool,
        place: Path,
    ) -> DatasetBundle:
        """Make the data set ready for training, without the videos whose features cannot be used.

        Args:
            max_length: Longest training crop, see `DetectionDataset`.
            truncation_threshold: Likewise of the training crops.
            verify: Read every feature file once, so that damaged ones are found before training begins.
            seed: Seed of the training crops.
            strict: Stop at the first unusable video instead of skipping it with a counted warning.
            place: What the description names as the data set's place.

        Raises:
            ValueError: When no video is left, or the features as a whole do not fit the layout; when strict, for any
                bad video.
        """
        problems = Problems(self.name, strict=strict)
        kept = {
            video.id: video for video in check_videos(self.videos, self.store, self.layout, problems, verify=verify)
        }
        counts = problems.summarise()
        if self.annotations.skipped:
            counts["video with unusable annotations"] = len(self.annotations.skipped)
        if self.annotations.left_out:
            counts["annotation that cannot be used"] = sum(self.annotations.left_out.values())
        if self.unusable:
            counts["recording that cannot be used"] = len(self.unusable)
        skipped = {**self.annotations.skipped, **self.unusable, **problems.skipped}
        train, test = ([video for video in split if video.id in kept] for split in (self.train, self.test))
        training = DetectionDataset(
            train,
            self.store,
            self.layout,
            training=True,
            max_length=max_length,
            truncation_threshold=truncation_threshold,
            seed=seed,
        )
        first = training.videos[0]
        return DatasetBundle(
            name=self.name,
            annotations=replace(self.annotations, videos=kept),
            train=training,
            test=DetectionDataset(test, self.store, self.layout),
            class_names=self.annotations.class_names,
            grid=self.layout.grid(first, self.store.length(first.id)),
            feature_dim=self.store.dim,
            synthetic=False,
            description=f"{self.name}, {self.layout.name} features{store_note(self.store)}: "
            f"{count(len(train), 'video')} to train on, {len(test)} to test on ({place})",
            transform=self.transform,
            metadata={"manifest": self.layout.name, "problems": counts, "skipped": skipped},
        )
