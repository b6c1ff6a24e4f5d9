# SPDX-License-Identifier: Apache-2.0
"""Are durations, segments and features in one unit? Seconds are taken for granted, and frames look like seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from asl_fast.data.annotations.video import Video
from asl_fast.data.finding import Finding
from asl_fast.data.report.annotations import SHORT_PROBLEM_SHARE
from asl_fast.data.source import DataSource
from asl_fast.wording import count

_MIN_VIDEOS = 3
_MIN_INSTANCES = 6
# Instances that all end in the first tenth of their videos, in every video, are in another unit than the durations.
_FIRST_SHARE = 0.1
_REACHED_SHARE = 0.9
_MILLISECONDS = 300.0
_LONGEST_STRIDE_FRAME = 128.0
_LONGEST_STEP_SEC = 30.0


def unit_findings(source: DataSource, steps: Mapping[str, int], lengths: np.ndarray) -> Iterator[Finding]:
    """Problems of units.

    Args:
        source: The data set.
        steps: Feature vectors by video.
        lengths: (N,) lengths of the training instances in grid steps.
    """
    annotated = [video for video in source.videos if len(video.labels)]
    instances = sum(len(video.labels) for video in annotated)
    if len(annotated) >= _MIN_VIDEOS and instances >= _MIN_INSTANCES:
        yield from _durations(source, annotated, steps)
    yield from _lengths(source, lengths)


def _durations(source: DataSource, annotated: Sequence[Video], steps: Mapping[str, int]) -> Iterator[Finding]:
    last = np.array([video.segments_sec.max() / video.duration_sec for video in annotated])
    example = annotated[int(last.argmax())]
    where = f"{example.id}: the last instance ends at {example.segments_sec.max():.6g} of {example.duration_sec:.6g}"
    if last.max() < _FIRST_SHARE:
        unit = _unit(1 / last.max(), annotated)
        stamps = "; where time stamps tell it, say their unit in the name of their column, as time_ms"
        yield Finding(
            "durations in another unit",
            "problem",
            f"no instance of {count(len(annotated), 'video')} ends after {last.max():.0%} of its video: durations look "
            f"like {unit} where segments are seconds; {where}",
            f"give 'duration' in seconds in {source.annotation_path}" + stamps * (source.transform is not None),
            tuple(video.id for video in annotated),
        )
    yield from _segments(source, annotated, steps)
    yield from _steps(source, annotated, steps)


def _segments(source: DataSource, annotated: Sequence[Video], steps: Mapping[str, int]) -> Iterator[Finding]:
    """Whole numbers that end where the frames, the milliseconds or the feature vectors do, and not where seconds do."""
    known = [video for video in annotated if video.id in steps]
    bounds = np.concatenate([video.segments_sec for video in known]) if known else np.empty((0, 2))
    if len(bounds) < _MIN_INSTANCES or (bounds != np.round(bounds)).any():
        return
    ends = np.array([video.segments_sec[:, 1].max() for video in known])
    seconds = np.array([video.duration_sec for video in known])
    units = {"positions in the features": np.array([float(steps[video.id]) for video in known])}
    if all(video.fps for video in known):
        units["frames"] = np.array([video.duration_sec * (video.fps or 1.0) for video in known])
    units["milliseconds"] = 1000 * seconds
    if (ends <= seconds + 1).all():
        return
    for unit, last in units.items():
        if (ends <= last + 1).all() and (ends / last).max() >= _REACHED_SHARE:
            first = int(bounds[:, 0].min())
            example = int((ends / last).argmax())
            yield Finding(
                "segments in another unit",
                "problem",
                f"segments look like {unit}{', counted from 1' if first == 1 else ''}: whole numbers up to "
                f"{ends[example]:.0f} in {known[example].id}, which has {last[example]:.0f} of them and "
                f"{seconds[example]:.6g} s",
                f"give 'segment' in seconds in {source.annotation_path}",
                tuple(video.id for video in known),
            )
            return


def _steps(source: DataSource, annotated: Sequence[Video], steps: Mapping[str, int]) -> Iterator[Finding]:
    """Seconds and frames between two feature vectors that no extractor has."""
    # A manifest that was given says how long a step is; whether it fits is another question.
    if source.layout.stride_frame is None or source.layout.name != source.name:
        return
    per_step = [(video.duration_sec / steps[video.id], video.fps) for video in annotated if video.id in steps]
    if not per_step:
        return
    step_sec = float(np.median([seconds for seconds, _ in per_step]))
    frames = [seconds * fps for seconds, fps in per_step if fps]
    stride = float(np.median(frames)) if frames else 0.0
    if stride > _LONGEST_STRIDE_FRAME or step_sec > _LONGEST_STEP_SEC:
        words = f", {stride:.0f} frames" if frames else ""
        yield Finding(
            "steps too long",
            "problem",
            f"durations over numbers of feature vectors give {step_sec:.3g} s{words} a step: are durations in frames "
            "or milliseconds?",
            f"give 'duration' in seconds in {source.annotation_path}, or a manifest if steps are that long",
        )


def _lengths(source: DataSource, lengths: np.ndarray) -> Iterator[Finding]:
    short = int((lengths < 1).sum())
    if len(lengths) >= _MIN_INSTANCES and short > SHORT_PROBLEM_SHARE * len(lengths):
        yield Finding(
            "instances shorter than a step",
            "problem",
            f"{count(short, 'training instance')} of {len(lengths)} shorter than one grid step: no detector can find "
            "them",
            f"are durations and segments of {source.annotation_path} in one unit? Otherwise extract features at a "
            "smaller stride",
        )


def _unit(factor: float, videos: Sequence[Video]) -> str:
    rates = [video.fps for video in videos if video.fps]
    if factor > _MILLISECONDS:
        return "milliseconds"
    return "frames" + (f" (at {np.median(rates):g} a second)" if rates else "")
