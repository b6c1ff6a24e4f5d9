# SPDX-License-Identifier: Apache-2.0
"""From run folders to the page on disk."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asl_fast.command_line.errors import if_stopped
from asl_fast.command_line.program import program
from asl_fast.files import write_text
from asl_fast.reporting.content import content
from asl_fast.reporting.html import render
from asl_fast.reporting.media import find_videos
from asl_fast.reporting.run_record import RunRecord, read_run
from asl_fast.training.run_folder import RunFolder
from asl_fast.wording import printable


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        page: The page.
        size: Its bytes.
        records: The runs that it shows.
        videos: How many videos it has.
        with_media: How many of them have a file that it plays.
    """

    page: Path
    size: int
    records: tuple[RunRecord, ...]
    videos: int
    with_media: int


def write_page(runs: Sequence[Path], output: Path | None = None, videos: Path | None = None) -> Written:
    """Write the page of a run, or of two beside each other; atomically.

    Args:
        runs: One or two run folders.
        output: The page; ``report.html`` in the folder of the (last) run, ``report-NAME.html`` for a comparison with
            the run of that name, unless given.
        videos: Folder of the videos themselves, to play them beside their timelines.

    Raises:
        ValueError: Not one or two runs; or runs that do not compare; or a file that cannot be used.
        OSError: Naming the file that cannot be read or written.
    """
    if not 1 <= len(runs) <= 2:
        raise ValueError(f"give one --run, or two to compare; found {len(runs)}")
    if len({run.resolve() for run in runs}) < len(runs):
        raise ValueError(f"--run {runs[0]} is given twice: give another run to compare it with")
    records = tuple(read_run(run) for run in runs)
    page = output or default_page(records)
    names = dict.fromkeys(str(video) for record in records if record.truth is not None for video in record.truth.videos)
    media = None if videos is None else find_videos(names, videos, page)
    gathered = content(records, media)
    text = render(gathered)
    write_text(page, text)
    return Written(page, len(text.encode()), records, len(gathered["videos"]["names"]), len(media or ()))


def default_page(records: Sequence[RunRecord]) -> Path:
    """Name the page after what it shows, in the folder of the last run."""
    *before, last = (RunFolder(record.folder.path) for record in records)
    if not before:
        return last.report
    return last.path / f"report-{before[0].path.resolve().name}.html"


def write_page_after_training(run: Path) -> None:
    """Write the page of a run that has just finished, and say where; whatever goes wrong, the run is complete.

    Under torchrun the first process does it.

    Raises:
        Stopped: After Ctrl-C, with how to write it later.
    """
    if os.environ.get("RANK", "0") != "0":
        return
    later = f"{program('report')} --run {run}"
    with if_stopped(f"the run is complete; its page: {later}"):
        try:
            print(printable(f"to look at: {write_page([run]).page}"))
        except Exception as error:  # results are worth more than their picture, whatever its defect
            reason = " ".join(str(error).split()) or type(error).__name__
            message = f"warning: no page was written ({reason:.300}); the run is complete; again: {later}"
            print(printable(message), file=sys.stderr)
