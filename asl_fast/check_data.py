# SPDX-License-Identifier: Apache-2.0
"""``python -m asl_fast.check_data``: is a data set complete, and do features and annotations fit each other?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import tyro

from asl_fast.data.custom.decision import Decision
from asl_fast.data.load import BENCHMARKS, open_source
from asl_fast.data.report.check import DataReport, check_data
from asl_fast.data.report.text import report_text
from asl_fast.data.source import DataSource
from asl_fast.files import write_json
from asl_fast.training.config import DataConfig, TrainConfig
from asl_fast.training.own_preset import open_configured, own_data_name, own_preset
from asl_fast.training.presets import preset
from asl_fast.training.serialization import to_dict


@dataclass(frozen=True)
class Arguments:
    """Check a data set before training: what is there, what is missing, and whether features fit annotations. The exit
    status is 0 where all is fine, 1 where problems were found, and 2 where the check could not be carried out."""

    dataset: str | None = None
    """Benchmark: thumos14, multithumos, charades, ego4d-mq, epic100-verb, epic100-noun, activitynet13 or hapt; without
    it, --annotations and --features are your own data."""
    data_root: Path | None = None
    """The benchmark's folder, as for training."""
    annotations: Path | None = None
    """Annotation file: of your own data, or of a benchmark where it is not at its usual place in the data root."""
    features: tuple[Path, ...] = ()
    """Feature folders or .h5 files: of your own data, or of a benchmark where they are not at their usual place."""
    manifest: str | None = None
    """How the features were extracted: a known name such as thumos14-i3d, or a JSON file; default: the benchmark's, or
    derived from your own data."""
    train_subset: str | None = None
    """Subset of your own data to train on; default: found by its name."""
    test_subset: str | None = None
    """Subset of your own data to score on; default: found by its name."""
    save_preset: Path | None = None
    """Also write the training configuration that was derived from your own data here, for train --preset."""
    headers_only: bool = False
    """Do not read the features themselves: quick, but values that are not finite are not found."""
    json: Path | None = None
    """Also write the report here."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    chosen = tyro.cli(Arguments, args=arguments, prog="python -m asl_fast.check_data", description=Arguments.__doc__)
    try:
        report, decisions = check(chosen)
        if chosen.json is not None:
            words = [asdict(decision) for decision in decisions]
            write_json(chosen.json, report.as_dict() | ({"decisions": words} if words else {}), indent=2)
    except (OSError, ValueError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    for decision in decisions:
        print(decision)
    print("\n" * bool(decisions) + report_text(report))
    return report.status


def check(arguments: Arguments) -> tuple[DataReport, tuple[Decision, ...]]:
    """Checks what the arguments name against the pyramid of its preset; with what was derived from one's own data.

    Raises:
        OSError, ValueError, ImportError: Naming the file or argument because of which nothing can be checked.
    """
    decisions: tuple[Decision, ...] = ()
    if arguments.annotations is not None and arguments.dataset not in BENCHMARKS:
        config, source, decisions = _own_data(arguments, str(arguments.annotations))
    else:
        config, source = _benchmark(arguments)
    model = config.model
    report = check_data(source, model.ranges_grid, first_level=model.first_level, verify=not arguments.headers_only)
    return report, decisions


def _benchmark(arguments: Arguments) -> tuple[TrainConfig, DataSource]:
    if arguments.dataset is None:
        raise ValueError("give --dataset NAME --data-root DIR, or your own data: --annotations FILE --features DIR")
    config = preset(arguments.dataset)
    if arguments.data_root is None:
        raise ValueError(f"give --data-root DIR, the folder of {arguments.dataset}")
    for option in ("train_subset", "test_subset", "save_preset"):
        if getattr(arguments, option) is not None:
            raise ValueError(f"--{option.replace('_', '-')} is for your own data; {arguments.dataset} has its own")
    source = open_source(
        arguments.dataset,
        arguments.data_root,
        annotations=arguments.annotations,
        features=arguments.features or None,
        manifest=arguments.manifest,
        samples_per_step=config.data.samples_per_step,
    )
    return config, source


def _own_data(arguments: Arguments, annotations: str) -> tuple[TrainConfig, DataSource, tuple[Decision, ...]]:
    asked = TrainConfig(
        dataset=arguments.dataset or own_data_name(annotations, BENCHMARKS),
        annotations=annotations,
        features=tuple(map(str, arguments.features)),
        data=DataConfig(train_subset=arguments.train_subset, test_subset=arguments.test_subset),
    )
    own = open_configured(asked, arguments.manifest)
    config, decisions = own_preset(own, asked)
    if arguments.save_preset is not None:
        write_json(arguments.save_preset, to_dict(config), indent=2)
    return config, own.source, decisions


if __name__ == "__main__":
    sys.exit(main())
