# SPDX-License-Identifier: Apache-2.0
"""Check whether a data set is complete and fits together.

Exit status: 0 all is fine, 1 problems were found, 2 nothing could be checked.

Examples:
    python -m asl_fast.check_data --dataset thumos14 --data-root data/thumos14
    python -m asl_fast.check_data --annotations mine.json --features features/ --save-preset mine-preset.json
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from asl_fast.command_line.errors import run_command
from asl_fast.command_line.options import read_options
from asl_fast.command_line.outputs import check_output
from asl_fast.data.datasets.benchmarks import told_manifest
from asl_fast.data.datasets.catalogue import DATASETS, get_dataset
from asl_fast.data.features.reading import FeatureReading
from asl_fast.files import write_json
from asl_fast.serialization import to_dict
from asl_fast.training.config import DataConfig, TrainConfig
from asl_fast.training.presets import preset
from asl_fast.wording import printable

if TYPE_CHECKING:
    from asl_fast.data.custom.decision import Decision
    from asl_fast.data.features.manifest import FeatureManifest
    from asl_fast.data.report.check import DataReport
    from asl_fast.data.source import DataSource


@dataclass(frozen=True)
class Arguments:
    """Which data set to check, and how.

    Attributes:
        dataset: Benchmark: thumos14, multithumos, charades, ego4d-mq, epic100-verb, epic100-noun, activitynet13,
            hapt, shrec22 or shrec21; without it, --annotations and --features are your own data.
        data_root: The benchmark's folder, as for training.
        annotations: Annotation file: of your own data, or of a benchmark where it is not at its usual place in the
            data root.
        features: Feature folders or .h5 files: of your own data, or of a benchmark where they are not at their usual
            place.
        signals: Folder of your own raw recordings, or one of them, in place of features.
        rate: Samples per second of these signals; by signals.json or their time stamps unless given.
        channels: What their channels are, such as triaxial:6,scalar:1; by signals.json unless given.
        manifest: How the features were extracted: a known name such as thumos14-i3d, or a JSON file; the benchmark's,
            or derived from your own data, unless given.
        train_subset: Subset of your own data to train on; found by its name unless given.
        test_subset: Subset of your own data to score on; found by its name unless given.
        save_preset: Also write the training configuration that was derived from your own data here, for train --preset.
        columns: Columns of a .csv or .tsv table of your own annotations, video=NAME,start=NAME,end=NAME,label=NAME; by
            their names unless given. duration=NAME holds lengths of videos, whatever they look like; nothing behind
            duration= leaves them out.
        durations: Length of each video in seconds, which goes before what your own annotations say: JSON
            {"name": seconds} or a table.
        reading: How features lie in their files.
        headers_only: Do not read the features themselves: quick, but values that are not finite are not found.
        json: Also write the report here.
        strict: Stop at the first annotation, video or feature file that cannot be used instead of counting it.
    """

    dataset: str | None = None
    data_root: Path | None = None
    annotations: Path | None = None
    features: tuple[Path, ...] = ()
    signals: Path | None = None
    rate: float | None = None
    channels: str | None = None
    manifest: str | None = None
    train_subset: str | None = None
    test_subset: str | None = None
    save_preset: Path | None = None
    columns: str | None = None
    durations: str | None = None
    reading: Annotated[FeatureReading, tyro.conf.arg(name="")] = field(default_factory=FeatureReading)
    headers_only: bool = False
    json: Path | None = None
    strict: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status, 1 where problems were found."""
    return run_command(lambda: _check_and_print(read_options(Arguments, "check_data", __doc__, arguments)))


def _check_and_print(chosen: Arguments) -> int:
    from asl_fast.data.report.text import report_text

    for option, path in (("--json", chosen.json), ("--save-preset", chosen.save_preset)):
        # A folder that is not there is told when the file is written.
        if path is not None and path.parent.is_dir():
            check_output(option, path, (chosen.annotations, *chosen.features, chosen.signals))
    report, decisions = check(chosen)
    if chosen.json is not None:
        words = [asdict(decision) for decision in decisions]
        write_json(chosen.json, report.as_dict() | ({"decisions": words} if words else {}), indent=2)
    for decision in decisions:
        print(printable(str(decision)))
    print("\n" * bool(decisions) + printable(report_text(report), keep="\n"))
    return report.status


def check(arguments: Arguments) -> tuple[DataReport, tuple[Decision, ...]]:
    """Check what the arguments name against the pyramid of its preset; also return what was derived from own data.

    Raises:
        OSError, ValueError, ImportError: Naming the file or argument because of which nothing can be checked.
    """
    from asl_fast.data.report.check import check_data

    decisions: tuple[Decision, ...] = ()
    if arguments.annotations is not None and arguments.dataset not in DATASETS:
        config, source, decisions = _own_data(arguments, str(arguments.annotations))
    else:
        config, source = _benchmark(arguments)
    model = config.model
    report = check_data(source, model.ranges_grid, first_level=model.first_level, verify=not arguments.headers_only)
    if arguments.strict:
        for reason in (*report.survey.missing.values(), *report.survey.unusable.values()):
            raise ValueError(reason)
    return report, decisions


def _benchmark(arguments: Arguments) -> tuple[TrainConfig, DataSource]:
    from asl_fast.data.load import open_source

    if arguments.dataset is None:
        raise ValueError("give --dataset NAME --data-root DIR, or your own data: --annotations FILE --features DIR")
    config = preset(arguments.dataset)
    if arguments.data_root is None:
        raise ValueError(f"give --data-root DIR, the folder of {arguments.dataset}")
    for option in ("signals", "rate", "channels", "train_subset", "test_subset", "save_preset", "columns", "durations"):
        if getattr(arguments, option) is not None:
            raise ValueError(f"--{option.replace('_', '-')} is for your own data; {arguments.dataset} has its own")
    manifest: str | FeatureManifest | None = arguments.manifest
    if arguments.reading.given:
        manifest = told_manifest(arguments.dataset, arguments.manifest, None, arguments.reading)
    source = open_source(
        arguments.dataset,
        arguments.data_root,
        annotations=arguments.annotations,
        features=arguments.features or None,
        manifest=manifest,
        strict=arguments.strict,
        **get_dataset(arguments.dataset).chosen_settings(config.data),
    )
    return config, source


def _own_data(arguments: Arguments, annotations: str) -> tuple[TrainConfig, DataSource, tuple[Decision, ...]]:
    from asl_fast.training.own_preset import open_configured, own_data_name, own_preset

    asked = TrainConfig(
        dataset=arguments.dataset or own_data_name(annotations, DATASETS),
        annotations=annotations,
        features=tuple(map(str, arguments.features)),
        signals=None if arguments.signals is None else str(arguments.signals),
        data=DataConfig(
            signal_rate_hz=arguments.rate,
            channels=arguments.channels,
            train_subset=arguments.train_subset,
            test_subset=arguments.test_subset,
            strict=arguments.strict,
            columns=arguments.columns,
            durations=arguments.durations,
        ),
    )
    own = open_configured(asked, arguments.manifest, arguments.reading)
    config, decisions = own_preset(own, asked)
    if arguments.save_preset is not None:
        write_json(arguments.save_preset, to_dict(config), indent=2)
    return config, own.source, decisions


if __name__ == "__main__":
    sys.exit(main())
