# SPDX-License-Identifier: Apache-2.0
"""``python -m asl_fast.check_data``: is a data set complete, and do features and annotations fit each other?"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from asl_fast.data.data_report import DataReport, check_data
from asl_fast.data.open_source import open_source
from asl_fast.data.report_text import report_text
from asl_fast.data.text_files import write_json
from asl_fast.training.presets import preset


@dataclass(frozen=True)
class Arguments:
    """Check a data set before training: what is there, what is missing, and whether features fit annotations. The exit
    status is 0 where all is fine, 1 where problems were found, and 2 where the check could not be carried out."""

    dataset: str
    """Benchmark: thumos14, multithumos, charades, ego4d-mq, epic100-verb, epic100-noun, activitynet13 or hapt."""
    data_root: Path
    """Its folder, as for training."""
    annotations: Path | None = None
    """Annotation file, where it is not at its usual place in the data root."""
    features: tuple[Path, ...] = ()
    """Feature folders or .h5 files, where they are not at their usual place in the data root."""
    manifest: str | None = None
    """How the features were extracted: a known name such as thumos14-i3d, or a JSON file; default: the benchmark's."""
    headers_only: bool = False
    """Do not read the features themselves: quick, but values that are not finite are not found."""
    json: Path | None = None
    """Also write the report here."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    chosen = tyro.cli(Arguments, args=arguments, prog="python -m asl_fast.check_data", description=Arguments.__doc__)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        report = check(chosen)
        if chosen.json is not None:
            write_json(chosen.json, report.as_dict())
    except (OSError, ValueError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    print(report_text(report))
    return report.status


def check(arguments: Arguments) -> DataReport:
    """Checks what the arguments name against the pyramid of its preset.

    Raises:
        OSError, ValueError, ImportError: Naming the file or argument because of which nothing can be checked.
    """
    config = preset(arguments.dataset)
    source = open_source(
        arguments.dataset,
        arguments.data_root,
        annotations=arguments.annotations,
        features=arguments.features or None,
        manifest=arguments.manifest,
        samples_per_step=config.data.samples_per_step,
    )
    return check_data(
        source,
        config.model.ranges_grid,
        first_level=config.model.first_level,
        verify=not arguments.headers_only,
    )


if __name__ == "__main__":
    sys.exit(main())
