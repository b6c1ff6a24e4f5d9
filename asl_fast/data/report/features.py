# SPDX-License-Identifier: Apache-2.0
"""What is wrong with the features of a data set: missing, of no use, left over, or of a length that does not fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

import numpy as np

from asl_fast.data.annotations.video import Video
from asl_fast.data.features.affix import Affixes, near_names
from asl_fast.data.features.counting import MOST_ARRAYS, climbing_columns
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.features.rows import open_rows
from asl_fast.data.features.timing_check import RatioGroup, TimingCheck, in_words, what_would_fit
from asl_fast.data.finding import Finding
from asl_fast.data.source import DataSource
from asl_fast.wording import count, examples

_MANY = 6
_FAR = 1e6
_COUNTED_ROWS = 256


def feature_findings(
    source: DataSource, steps: Mapping[str, int], missing: Mapping[str, str], unusable: Mapping[str, str]
) -> Iterator[Finding]:
    """Videos without features, with damaged ones, and features without a video.

    Args:
        source: The data set.
        steps: Feature vectors by video that can be used.
        missing: Why videos have none.
        unusable: What is wrong with those that cannot be used.
    """
    places = ", ".join(map(str, source.feature_paths))
    if missing and not steps and not unusable:
        hint = near_names(list(missing), source.store.names, Affixes(source.layout.prefix, source.layout.suffix))
        yield Finding(
            "no features match",
            "problem",
            f"none of the {count(len(missing), 'video')} of {source.annotation_path} has features in {places}: "
            f"{hint.found}",
            hint.fix,
            tuple(missing),
        )
    elif missing:
        yield Finding(
            "missing features",
            "problem",
            f"{count(len(missing), 'video')} of {len(source.videos)} without features; {next(iter(missing.values()))}",
            "extract them, or go on without: training leaves these videos out and says so",
            tuple(missing),
        )
    if unusable:
        yield Finding(
            "unusable features",
            "problem",
            f"{count(len(unusable), 'video')} with features of no use; {'; '.join(list(unusable.values())[:3])}",
            "training leaves these videos out and says so",
            tuple(unusable),
        )
    if len(steps) >= _MANY and len(set(steps.values())) == 1 and source.layout.stride_frame is None:
        number, dim = next(iter(steps.values())), source.store.dim
        looks = " it looks transposed, (D, T)." if _is_width(number) and not _is_width(dim) else ""
        yield Finding(
            "one shape for all",
            "note",
            f"all {len(steps)} files are (T, D) = ({number}, {dim}): is that the right way round?{looks}",
            "T counts feature vectors in time, D is the width of each; --layout CT reads (channels, time)",
        )
    annotated = source.annotations.videos.keys() | source.annotations.skipped.keys()
    left_over = tuple(sorted(set(source.store.video_ids) - annotated))
    if left_over and (steps or unusable):
        yield Finding(
            "features without annotation",
            "note",
            f"{count(len(left_over), 'feature file')} in {places} without annotation: {examples(left_over)}",
            "they are not used",
            left_over,
        )


def recording_findings(source: DataSource) -> Iterator[Finding]:
    """Tell what was found when recordings were opened, and which were left out, each of them once."""
    yield from source.findings
    told = {key for finding in source.findings for key in finding.videos if finding.severity == "problem"}
    unusable = {key: reason for key, reason in source.unusable.items() if key not in told}
    if unusable:
        yield Finding(
            "unusable recordings",
            "problem",
            f"{count(len(unusable), 'recording')} left out: {'; '.join(list(unusable.values())[:3])}",
            "correct them, or go on without: training leaves them out and says so",
            tuple(unusable),
        )


def counting_findings(source: DataSource) -> Iterator[Finding]:
    """Note columns of features that count, as a table does whose first column numbers its lines without saying so.

    Those of raw signals are found when these are opened; see ``DataSource.findings``.
    """
    if source.transform is not None:
        return
    if found := climbing_columns(_first_rows(source)).counting:
        columns = examples([str(column) for column in found])
        yield Finding(
            "columns that count",
            "note",
            f"{'column' if len(found) == 1 else 'columns'} {columns} (counted from 0) of the features in "
            f"{', '.join(map(str, source.feature_paths))}, from vector to vector one step further in every video "
            "looked at: this tells the network where in a video it is, and nothing of what is seen",
            "remove it from the files; in a table with a header, a first column without a name is left out",
        )


def _first_rows(source: DataSource) -> Iterator[np.ndarray]:
    """Read the first feature vectors of some videos; those that cannot be read are told elsewhere."""
    for video in source.videos[:MOST_ARRAYS]:
        with suppress(OSError, ValueError):
            rows = open_rows(source.store, video.id)
            yield rows.read(0, min(rows.num_steps, _COUNTED_ROWS))


def constant_findings(constant: Sequence[str], videos: int) -> Iterator[Finding]:
    """Videos all of whose feature vectors are the same: nothing can be found in them.

    Args:
        constant: Their ids.
        videos: Number of the videos with features.
    """
    if constant:
        yield Finding(
            "constant features",
            "problem" if 2 * len(constant) > videos else "note",
            f"{count(len(constant), 'video')} of {videos} with one feature vector repeated from start to end: "
            f"{examples(list(constant))}",
            "was something extracted from these videos?",
            tuple(constant),
        )


def far_findings(largest: Mapping[str, float], usual: Mapping[str, float]) -> Iterator[Finding]:
    """Videos with a value so large that a network would see nothing beside it.

    Args:
        largest: Largest size of a value by video.
        usual: Mean size by video.
    """
    typical = float(np.median(list(usual.values()))) if usual else 0.0
    far = sorted((key for key, size in largest.items() if 0 < _FAR * typical < size), key=lambda key: -largest[key])
    if far:
        yield Finding(
            "values far from all others",
            "note",
            f"{count(len(far), 'video')} of {len(largest)} with values of up to {largest[far[0]]:.3g}, where "
            f"{typical:.3g} is usual: {examples(far)}",
            "was something divided by nearly nothing? Extract these videos again",
            tuple(far),
        )


def _is_width(size: int) -> bool:
    """Whether it is a usual width of features: a power of two from 64 on, three of them, or a number of classes."""
    return size >= 64 and (size & (size - 1) == 0 or size in (400, 768, 1536, 2304, 3072))


def length_findings(source: DataSource, steps: Mapping[str, int], timing: TimingCheck | None) -> Iterator[Finding]:
    """Lengths that do not fit the durations, as a whole or in single videos."""
    if timing is None:
        return
    layout = source.layout
    videos = {video.id: video for video in source.videos if video.id in steps}
    if timing.fixed_steps is not None:
        yield Finding(
            "fixed number of features",
            "problem",
            f"every video has exactly {timing.fixed_steps} feature vectors, whatever its duration, so they were "
            f"resized; manifest {layout.name!r} says {layout.timing_words()}",
            "give a manifest whose stride_frame is null",
        )
    elif timing.scale_is_wrong:
        rate = _rate(layout, videos.values())
        yield Finding(
            "wrong stride or fps",
            "problem",
            f"features are {in_words(timing.scale)} than manifest {layout.name!r} says ({layout.timing_words(rate)}; "
            f"median over {count(len(videos), 'video')}: {timing.median:.2f}): "
            f"{what_would_fit(timing.scale, layout, rate)}?",
            "every detection would be off by that factor: correct stride or fps with --manifest",
        )
    for group in timing.groups:
        yield _group(group, source, steps, videos)


def _group(
    group: RatioGroup,
    source: DataSource,
    steps: Mapping[str, int],
    videos: Mapping[str, Video],
) -> Finding:
    layout, first = source.layout, group.videos[0]
    members = [videos[key] for key in group.videos]
    rate = _rate(layout, members)
    covered = layout.extracted_grid(videos[first], steps[first]).covered_sec(steps[first])
    example = f"{first}: {steps[first]} feature vectors cover {covered:.1f} s of its {videos[first].duration_sec:.1f} s"
    # One factor shared by several videos is a setting of the extractor; single ones are other cuts of a video.
    if len(members) > max(1, 0.02 * len(videos)):
        return Finding(
            "other stride or fps in some videos",
            "problem",
            f"{count(len(members), 'video')} of {len(videos)} have features {in_words(group.ratio)} than "
            f"manifest {layout.name!r} says, unlike the others: {what_would_fit(group.ratio, layout, rate)} there? "
            f"{example}",
            "extract these videos again with the settings of the others, or correct their fps or duration in "
            f"{source.annotation_path}",
            group.videos,
        )
    return Finding(
        "features of another length",
        "note",
        f"{examples(list(group.videos))} {'does' if len(members) == 1 else 'do'} not fit the duration; {example}",
        "was the file cut, or is it another version of the video? Its actions are misplaced if so",
        group.videos,
    )


def _rate(layout: FeatureManifest, videos: Iterable[Video]) -> float:
    return float(np.median([layout.rate(video) for video in videos]))
