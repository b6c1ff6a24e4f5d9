# SPDX-License-Identifier: Apache-2.0
"""Write one page that shows a run, or two beside each other.

The page is one HTML file that needs no network: scores, errors, what was learned, and a timeline of every test video.

Examples:
    python -m asl_fast.report --run runs/thumos14-001
    python -m asl_fast.report --run runs/thumos14-001 --videos videos/
    python -m asl_fast.report --run runs/thumos14-001 --run runs/thumos14-002 --output compared.html
    python -m asl_fast.report --run runs/thumos14-001 --png figures/
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from asl_fast.command_line.errors import if_stopped, run_command
from asl_fast.command_line.options import read_options
from asl_fast.command_line.outputs import check_output, check_output_folder
from asl_fast.wording import count, printable


@dataclass(frozen=True)
class Arguments:
    """What is shown.

    Attributes:
        run: A run folder of train, finished or not; given twice, two are compared.
        videos: Folder of the videos, each named after its video: a click on a timeline goes to that moment.
        output: The page to write; report.html in the run folder unless given.
        png: Also draw the charts as PNG files into this folder, for papers; needs matplotlib.
    """

    run: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction]
    videos: Path | None = None
    output: Path | None = None
    png: Path | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    return run_command(lambda: _report(read_options(Arguments, "report", __doc__, arguments)))


def _report(chosen: Arguments) -> int:
    with if_stopped("nothing was written"):
        if chosen.output is not None:
            parts = (path for run in chosen.run for path in run.glob("*") if path.suffix != ".html")
            check_output("--output", chosen.output, parts)

        from asl_fast.reporting.write import write_page

        if chosen.png is not None:
            from asl_fast.reporting.plots import check_matplotlib

            check_output_folder("--png", chosen.png)
            check_matplotlib()
        written = write_page(chosen.run, chosen.output, chosen.videos)
    media = f", {written.with_media} with their file" if chosen.videos is not None else ""
    print(printable(f"{written.page}: {count(written.videos, 'video')}{media}, {written.size / 1e6:.2f} MB"))
    if chosen.png is not None:
        from asl_fast.reporting.plots import write_plots

        files = write_plots(written.records, chosen.png)
        print(printable(f"{chosen.png}: {count(len(files), 'picture')}: {', '.join(path.name for path in files)}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
