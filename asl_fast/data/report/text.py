# SPDX-License-Identifier: Apache-2.0
"""The report on a data set as a page of text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from asl_fast.data.features.timing_check import in_words
from asl_fast.data.finding import Finding
from asl_fast.data.report.check import DataReport
from asl_fast.data.report.lengths import LevelCount
from asl_fast.wording import count

_WIDTH = 110
_BAR = 40


def report_text(report: DataReport) -> str:
    """Say what was found, the lengths, what is wrong, and a verdict in the last line."""
    return "\n".join(
        [
            *_found(report),
            "",
            *_timing(report),
            "",
            *histogram(report.levels, report.step_sec),
            *(("", *(line for finding in report.findings for line in _finding(finding))) if report.findings else ()),
            "",
            _verdict(report),
        ]
    )


def histogram(levels: Sequence[LevelCount], step_sec: float | None) -> list[str]:
    """Instances by level of the pyramid, one line each."""
    if not levels or step_sec is None:
        return ["no training instance with features, so there are no lengths to compare with the pyramid"]
    total, most = max(sum(level.count for level in levels), 1), max(1, *(level.count for level in levels))
    rows = [
        f"lengths of training instances by pyramid level (one grid step is {step_sec:.3g} s):",
        f"  level  {'regression range':>18}  {'instances of':>19}  {'number':>7}",
    ]
    for level in levels:
        low, high = level.lengths_sec
        last = high == float("inf")
        grid = f"{level.range_grid[0]:g} and more" if last else f"{level.range_grid[0]:g} to {level.range_grid[1]:g}"
        seconds = f"{low:.3g} s and more" if last else f"{low:.3g} to {high:.3g} s"
        bar = "█" * round(_BAR * level.count / most) or ("▏" if level.count else "")
        row = f"  {level.level:>5}  {grid:>18}  {seconds:>19}  {level.count:>7}  {level.count / total:>4.0%}  {bar}"
        rows.append(row.rstrip())
    return rows


def _found(report: DataReport) -> list[str]:
    source, layout = report.source, report.source.layout
    resized = "" if layout.resize is None else f", resized to {layout.resize} steps"
    annotations = source.annotations
    rows = [
        f"{source.name}: {count(len(annotations.videos), 'video')} with "
        f"{count(len(annotations.class_names), 'class', 'classes')} in {source.annotation_path}",
        f"  features of width {source.store.dim} in {', '.join(map(str, source.feature_paths))}",
        f"  manifest {layout.name}: {layout.timing_words()}{resized}",
        "",
        f"  {'split':<24}  {'videos':>7}  {'with features':>13}  {'instances':>9}  {'hours':>6}",
    ]
    for name, split in zip(("train", "test"), report.splits, strict=True):
        label = f"{name} ({split.subset})" if split.subset else name
        rows.append(
            f"  {label:<24}  {split.videos:>7}  {split.with_features:>13}  {split.instances:>9}  {split.hours:>6.1f}"
        )
    return rows


def _timing(report: DataReport) -> list[str]:
    timing = report.timing
    if timing is None:
        return ["durations against features: any length fits, there is no fixed stride"]
    agree = len(timing.ratios) - sum(len(group.videos) for group in timing.groups)
    if timing.fixed_steps is not None:
        return [f"durations against features: {timing.fixed_steps} feature vectors whatever the duration"]
    if report.source.layout.name == report.source.name:
        # Derived from these very lengths: whole numbers may fail to give them, an estimate cannot.
        exact, all_videos = timing.exact, count(len(timing.ratios), "video")
        if exact == len(timing.ratios):
            return [f"durations against features: {exact} of {all_videos} as expected, each to the vector"]
        return [
            f"durations against features: {exact} of {all_videos} have exactly the length that stride and window give; "
            "these were derived from the lengths, so that only a manifest could check them"
        ]
    what = f"as expected (scale {timing.scale:.3f})"
    if timing.scale_is_wrong:
        what = f"{in_words(timing.scale)} than expected"
    return [
        f"durations against features: {agree} of {count(len(timing.ratios), 'video')} {what}; "
        f"median of found / expected {timing.median:.3f}"
    ]


def _finding(finding: Finding) -> list[str]:
    head = "PROBLEM" if finding.severity == "problem" else "note"
    rows = textwrap.wrap(finding.message, _WIDTH, break_on_hyphens=False, break_long_words=False)
    lines = [f"{head if index == 0 else '':<9}{row}" for index, row in enumerate(rows)]
    fix = textwrap.wrap(finding.fix, _WIDTH - 3, break_on_hyphens=False, break_long_words=False)
    return [*lines, *(f"{'':<9}{'-> ' if index == 0 else '   '}{row}" for index, row in enumerate(fix))]


def _verdict(report: DataReport) -> str:
    problems, notes = len(report.problems), len(report.findings) - len(report.problems)
    if problems:
        return f"{count(problems, 'problem')}, {count(notes, 'note')}: solve the problems before training"
    return f"no problem, {count(notes, 'note')}: ready to train"
