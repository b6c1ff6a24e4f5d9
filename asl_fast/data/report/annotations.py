# SPDX-License-Identifier: Apache-2.0
"""What is odd about the annotations of a data set, and about their lengths beside the feature pyramid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.annotations.video import Video
from asl_fast.data.finding import Finding
from asl_fast.data.report.lengths import LevelCount
from asl_fast.data.source import DataSource
from asl_fast.wording import count, examples, plain

OUTSIDE_TOLERANCE_SEC = 0.05
"""What rounding of durations and times explains."""
_FRAMES_SHARE = 0.2
_SHORT_SHARE = 0.05
_LONG_SHARE = 0.05
_CUT = "cut there for training, which does not use what is outside"
SHORT_PROBLEM_SHARE = 0.9
"""Share of instances shorter than a step above which units, not instances, are to blame: a problem, see `units`."""


def annotation_findings(
    source: DataSource, lengths: NDArray[np.float64], levels: Sequence[LevelCount]
) -> Iterator[Finding]:
    """Look at splits, classes, segments and lengths.

    Args:
        source: The data set.
        lengths: Lengths of the training instances in grid steps.
        levels: The same by level of the pyramid.
    """
    skipped = source.annotations.skipped
    if skipped:
        yield Finding(
            "unusable annotations",
            "problem",
            f"{count(len(skipped), 'video')} of {source.annotation_path} left out, {next(iter(skipped.values()))}: "
            f"{examples(list(skipped))}",
            "correct what the warnings name",
            tuple(skipped),
        )
    left_out = source.annotations.left_out
    if left_out:
        yield Finding(
            "unusable entries",
            "problem",
            f"{count(sum(left_out.values()), 'annotation')} of {source.annotation_path} left out, in "
            f"{count(len(left_out), 'video')}: {examples(list(left_out))}",
            "correct what the warnings name",
            tuple(left_out),
        )
    yield from _splits(source)
    yield from _classes(source)
    yield from segment_findings(source)
    if len(lengths):
        yield from _lengths(lengths, levels)


def _splits(source: DataSource) -> Iterator[Finding]:
    used = {video.id for video in source.videos}
    unused = [video for video in source.annotations.videos.values() if video.id not in used]
    if unused:
        subsets = ", ".join(dict.fromkeys(repr(video.subset) for video in unused))
        yield Finding(
            "videos in no split",
            "note",
            f"{count(len(unused), 'video')} of subset {subsets} not used",
            "",
            _ids(unused),
        )
    for what, split in (("train on", source.train), ("test on", source.test)):
        if not any(len(video.labels) for video in split):
            yield Finding(
                "empty split",
                "problem",
                f"no instance to {what}: {count(len(split), 'video')} and none has an annotation",
                f"correct 'subset' and 'annotations' in {source.annotation_path}",
            )


def _classes(source: DataSource) -> Iterator[Finding]:
    names = source.annotations.class_names
    train, test = (
        np.bincount(np.concatenate([np.empty(0, np.int64), *(v.labels for v in split)]), minlength=len(names))
        for split in (source.train, source.test)
    )
    if len(names) < 2:
        yield Finding(
            "one class",
            "note",
            f"a single class, {names[0]!r}: detection still works, but the contrastive loss has nothing to tell apart",
            "--variant p+q trains without it",
        )
    untrained = [name for name, in_train, in_test in zip(names, train, test, strict=True) if in_test and not in_train]
    if untrained:
        yield Finding(
            "classes without training instances",
            "note",
            f"{count(len(untrained), 'class', 'classes')} only in the test split: {examples(untrained)}; "
            "never detected, and their AP of 0 counts",
            "move some of their videos to the training split, or remove the classes",
        )
    for spellings in _alike(names):
        yield Finding(
            "classes spelt alike",
            "note",
            f"classes {' and '.join(map(ascii, spellings))} differ in nothing but upper and lower case, blanks or the "
            "form of their characters; each is a class of its own",
            "give them one name if they are one",
        )
    absent = [name for name, in_train, in_test in zip(names, train, test, strict=True) if not in_train and not in_test]
    if absent:
        yield Finding(
            "unused classes",
            "note",
            f"{count(len(absent), 'class', 'classes')} in neither split: {examples(absent)}",
            "this does no harm",
        )


def _alike(names: Sequence[str]) -> Iterator[list[str]]:
    """Group the names that look the same."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(plain(name), []).append(name)
    yield from (spellings for spellings in groups.values() if len(spellings) > 1)


def segment_findings(source: DataSource) -> Iterator[Finding]:
    """Look at where segments lie in their videos."""
    videos = [video for video in source.videos if len(video.labels)]
    if not videos:
        return
    total = sum(len(video.labels) for video in videos)
    past = [(video, video.segments_sec[:, 0] >= video.duration_sec) for video in videos]
    late = [
        (video, ~beyond & (video.segments_sec[:, 1] > video.duration_sec + OUTSIDE_TOLERANCE_SEC))
        for video, beyond in past
    ]
    before = [(video, video.segments_sec[:, 0] < -OUTSIDE_TOLERANCE_SEC) for video in videos]
    empty = [(video, video.segments_sec[:, 1] <= video.segments_sec[:, 0]) for video in videos]
    turned = [(video, video.segments_sec[:, 1] < video.segments_sec[:, 0]) for video in videos]
    number = sum(int(mask.sum()) for _, mask in past)
    if number:
        many = number > _FRAMES_SHARE * total
        yield _segment_finding(
            "segments past the end",
            past,
            f"{count(number, 'segment')} of {total} start after the end of the video",
            "are the times in frames? Or in milliseconds? They must be in seconds"
            if many
            else "not trained on, but scored",
            problem=many,
        )
    number = sum(int(mask.sum()) for _, mask in turned)
    if number > _FRAMES_SHARE * total:
        yield _segment_finding(
            "segments turned round",
            turned,
            f"{count(number, 'segment')} of {total} end before they start",
            "are they [start, length]? They must be [start, end]",
            problem=True,
        )
        empty = []
    for kind, masks, words, fix in (
        ("segments that end late", late, "end after the end of the video", _CUT),
        ("segments before the start", before, "start before 0 s", _CUT),
        ("empty segments", empty, "have no length, or end before they start", "not trained on"),
    ):
        if number := sum(int(mask.sum()) for _, mask in masks):
            yield _segment_finding(kind, masks, f"{count(number, 'segment')} of {total} {words}", fix)
    repeated = [video for video in videos if len(np.unique(_rows(video), axis=0)) < len(video.labels)]
    if repeated:
        yield Finding(
            "repeated segments",
            "note",
            f"the same segment and class more than once in {count(len(repeated), 'video')}: "
            f"{examples(list(_ids(repeated)))}",
            "remove the copies: most conventions score each of them",
            _ids(repeated),
        )


def _segment_finding(
    kind: str, masks: Sequence[tuple[Video, NDArray[np.bool_]]], message: str, fix: str, *, problem: bool = False
) -> Finding:
    concerned = [(video, mask) for video, mask in masks if mask.any()]
    video, mask = concerned[0]
    start, end = video.segments_sec[mask][0]
    example = f"; {video.id}: [{start:.2f}, {end:.2f}] of {video.duration_sec:.2f} s"
    return Finding(kind, "problem" if problem else "note", message + example, fix, _ids([v for v, _ in concerned]))


def _lengths(lengths: NDArray[np.float64], levels: Sequence[LevelCount]) -> Iterator[Finding]:
    short = int((lengths < 1).sum())
    if _SHORT_SHARE * len(lengths) < short <= SHORT_PROBLEM_SHARE * len(lengths):
        yield Finding(
            "instances shorter than a step",
            "note",
            f"{count(short, 'training instance')} of {len(lengths)} shorter than one grid step: "
            "few points can find them",
            "extract features at a smaller stride",
        )
    used = [level.level for level in levels if level.count]
    if used and used[-1] < levels[-1].level:
        spare = levels[-1].level - used[-1]
        yield Finding(
            "levels without instances",
            "note",
            f"{count(spare, 'coarse level')} of the pyramid without a training instance",
            f"--model.num-levels {used[-1] + 1} would do",
        )
    last = levels[-1]
    # Levels double, so what reaches twice the lower end of the open range would have a level of its own.
    beyond = int((lengths / 2 >= 2 * last.range_grid[0]).sum())
    if len(levels) > 1 and beyond > _LONG_SHARE * len(lengths):
        yield Finding(
            "instances beyond the last range",
            "note",
            f"{count(beyond, 'training instance')} of {len(lengths)} longer than twice what the last range begins with "
            f"({2 * last.lengths_sec[0]:.3g} s)",
            f"more levels would share them: --model.num-levels {last.level + 2}",
        )


def _rows(video: Video) -> NDArray[np.float64]:
    return np.column_stack([video.segments_sec, video.labels])


def _ids(videos: Sequence[Video]) -> tuple[str, ...]:
    return tuple(video.id for video in videos)
