# SPDX-License-Identifier: Apache-2.0
"""Everything that can be said about a data set before training: what is there, what is missing, what does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from asl_fast.data.annotations.video import Video
from asl_fast.data.features.check import count_steps
from asl_fast.data.features.rows import open_rows
from asl_fast.data.features.timing_check import TimingCheck, check_timing
from asl_fast.data.finding import Finding
from asl_fast.data.report.annotations import annotation_findings
from asl_fast.data.report.features import (
    constant_findings,
    counting_findings,
    far_findings,
    feature_findings,
    length_findings,
    recording_findings,
)
from asl_fast.data.report.lengths import LevelCount, Range, count_levels, lengths_grid, typical_step_sec
from asl_fast.data.report.units import unit_findings
from asl_fast.data.source import DataSource

_LOOKED_AT = 256
"""Feature vectors of a video that tell what size of values is usual."""


@dataclass(frozen=True)
class SplitCount:
    """One split in numbers; ``hours`` are those of all its videos, ``with_features`` of them can be used."""

    subset: str
    videos: int
    with_features: int
    instances: int
    hours: float


@dataclass(frozen=True)
class FeatureSurvey:
    """Number of feature vectors by video, and why others have none: file not there, or there but of no use.

    ``constant`` are the videos all of whose vectors are the same; ``largest`` is the largest size of a value by video,
    and ``usual`` the mean size in its first part.
    """

    steps: dict[str, int] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    unusable: dict[str, str] = field(default_factory=dict)
    constant: list[str] = field(default_factory=list)
    largest: dict[str, float] = field(default_factory=dict)
    usual: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class DataReport:
    """What a check found.

    Attributes:
        source: What was checked.
        survey: Its features.
        splits: Training and test split.
        timing: Found against expected lengths; None where any length fits.
        step_sec: Seconds of a grid step in a typical video; None without features.
        levels: Training instances by level of the pyramid.
        findings: Problems first, then notes.
    """

    source: DataSource
    survey: FeatureSurvey
    splits: tuple[SplitCount, SplitCount]
    timing: TimingCheck | None
    step_sec: float | None
    levels: tuple[LevelCount, ...]
    findings: tuple[Finding, ...]

    @property
    def problems(self) -> tuple[Finding, ...]:
        """Findings that would spoil training or its score."""
        return tuple(finding for finding in self.findings if finding.severity == "problem")

    @property
    def status(self) -> int:
        """Exit status: 0 fine, 1 problems."""
        return 1 if self.problems else 0

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and strings, for JSON; an infinite length is None."""
        timing = self.timing
        return {
            "dataset": self.source.name,
            "status": self.status,
            "annotations": str(self.source.annotation_path),
            "features": [str(path) for path in self.source.feature_paths],
            "manifest": asdict(self.source.layout),
            "classes": list(self.source.annotations.class_names),
            "splits": {name: asdict(split) for name, split in zip(("train", "test"), self.splits, strict=True)},
            "step_sec": self.step_sec,
            "timing": None
            if timing is None
            else {
                "median_ratio": timing.median,
                "scale": timing.scale,
                "ratios": dict(timing.ratios),
                "groups": [asdict(group) for group in timing.groups],
            },
            "levels": [
                asdict(level)
                | {"lengths_sec": [value if value < float("inf") else None for value in level.lengths_sec]}
                for level in self.levels
            ],
            "findings": [asdict(finding) for finding in self.findings],
        }


def survey_features(source: DataSource, *, verify: bool) -> FeatureSurvey:
    """Look at the features of both splits; with ``verify`` every array is read, otherwise only headers."""
    survey = FeatureSurvey()
    for video in tqdm(source.videos, desc="features", unit="video", leave=False, disable=None):
        try:
            if not verify:
                survey.steps[video.id] = count_steps(video, source.store, source.layout, verify=False)
                continue
            rows = open_rows(source.store, video.id)
            first, constant, largest = None, rows.num_steps > 1, 0.0
            # All parts are read, whatever the first ones hold: that is what verifies them.
            for part in rows.parts():
                if first is None:
                    first = part[0]
                    survey.usual[video.id] = float(np.abs(part[:_LOOKED_AT]).mean(dtype=np.float64))
                largest = max(largest, float(part.max()), -float(part.min()))
                constant = constant and bool((part == first).all())
            source.layout.extracted_grid(video, rows.num_steps)
            survey.steps[video.id], survey.largest[video.id] = rows.num_steps, largest
            if constant:
                survey.constant.append(video.id)
        except FileNotFoundError as error:
            survey.missing[video.id] = str(error)
        except (ValueError, OSError) as error:
            survey.unusable[video.id] = str(error)
    return survey


def check_data(
    source: DataSource, ranges_grid: Sequence[Range], *, first_level: int = 0, verify: bool = True
) -> DataReport:
    """Check a data set as a whole.

    Args:
        source: The data set.
        ranges_grid: Regression ranges of the pyramid that is to be trained on it, in grid steps.
        first_level: Level of the first of them.
        verify: Read every feature file; otherwise values that are not finite stay undiscovered.
    """
    survey = survey_features(source, verify=verify)
    timing = check_timing(source.videos, survey.steps, source.layout)
    usable = [video for video in source.train if video.id in survey.steps]
    step_sec: float | None = None
    levels: tuple[LevelCount, ...] = ()
    lengths = np.empty(0)
    if usable:
        step_sec = typical_step_sec(usable, survey.steps, source.layout)
        lengths = lengths_grid(usable, survey.steps, source.layout)
        levels = count_levels(lengths, ranges_grid, step_sec, first_level=first_level)
    findings = [
        *recording_findings(source),
        *feature_findings(source, survey.steps, survey.missing, survey.unusable),
        *constant_findings(survey.constant, len(survey.steps)),
        *(counting_findings(source) if verify else ()),
        *far_findings(survey.largest, survey.usual),
        *length_findings(source, survey.steps, timing),
        *unit_findings(source, survey.steps, lengths),
        *annotation_findings(source, lengths, levels),
    ]
    return DataReport(
        source=source,
        survey=survey,
        splits=(_count(source.train, survey), _count(source.test, survey)),
        timing=timing,
        step_sec=step_sec,
        levels=levels,
        findings=tuple(sorted(findings, key=lambda finding: finding.severity != "problem")),
    )


def _count(videos: Sequence[Video], survey: FeatureSurvey) -> SplitCount:
    return SplitCount(
        subset=", ".join(dict.fromkeys(video.subset for video in videos)),
        videos=len(videos),
        with_features=sum(video.id in survey.steps for video in videos),
        instances=sum(len(video.labels) for video in videos),
        hours=sum(video.duration_sec for video in videos) / 3600,
    )
