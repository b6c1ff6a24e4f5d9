# SPDX-License-Identifier: Apache-2.0
"""From the words of a command line to a checked configuration and its run folder."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from asl_fast.command_line.options import read_options
from asl_fast.data.custom.decision import Decision
from asl_fast.data.datasets.benchmarks import told_manifest
from asl_fast.data.datasets.catalogue import DATASETS, needs_its_data
from asl_fast.data.features.reading import FeatureReading
from asl_fast.models.config import FrontEndConfig
from asl_fast.serialization import flatten, read_config
from asl_fast.training.config import TrainConfig
from asl_fast.training.presets import SIZES, preset, with_variant
from asl_fast.training.ranges import check_ranges
from asl_fast.training.run_folder import RunFolder, already_holds_a_run, existing_runs, next_run
from asl_fast.video.options import CACHE, Recipe
from asl_fast.wording import printable


@dataclass(frozen=True)
class Options:
    """The options of training: those of the configuration, and how to come by one.

    Attributes:
        config: The run.
        preset: Size of the run: "full" as published (the default on real data), "reduced" for minutes on a CPU (the
            default without), "smoke" for about a minute; or a file that --save-preset wrote.
        variant: Loss: "asl", or what an ablation compares it with: "plain", "constant", "p", "q", "p+q", "ascl",
            "p+ascl"; "asl-paper" is ASL to the letter of its paper.
        resume: Continue the run in --output, or the newest one of this data set, from its last checkpoint.
        overwrite: Start over in an --output that already holds a run.
        manifest: How the features were extracted: a known name such as thumos14-i3d, or a JSON file with stride_frame,
            window_frame, fps, ...; the benchmark's, or derived from your own data, unless given.
        save_preset: Also write the configuration here, for --preset.
        accept_units: Train although your own times look like frames or milliseconds, or a channel only counts samples;
            check_data says why.
        reading: How features lie in their files.
        videos: In place of --features, with your own --annotations: video files and folders of them.
        recipe: How videos become features.
        video_cache: Folder that keeps features of videos.
        help_all: Show every option: those of data, model, loss, optimizer, inference and evaluation too.
    """

    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)
    preset: str | None = None
    variant: str | None = None
    resume: bool = False
    overwrite: bool = False
    manifest: str | None = None
    save_preset: Path | None = None
    accept_units: bool = False
    reading: Annotated[FeatureReading, tyro.conf.arg(name="")] = field(default_factory=FeatureReading)
    videos: tuple[Path, ...] = ()
    recipe: Annotated[Recipe, tyro.conf.arg(name="")] = field(default_factory=Recipe)
    video_cache: Path = CACHE
    help_all: bool = False


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        config: The configuration, checked and with ``output`` set.
        folder: The run folder.
        resume: Whether to continue from its last checkpoint.
        size: Name of the preset's size; None where the configuration comes from a file.
        explanation: Lines that say what was derived from one's own data, and why.
        save_preset: Where to write the configuration as a preset.
        overwrite: Whether to replace the run that the folder holds.
    """

    config: TrainConfig
    folder: RunFolder
    resume: bool
    size: str | None
    explanation: tuple[str, ...] = ()
    save_preset: Path | None = None
    overwrite: bool = False


def parse(arguments: Sequence[str], *, about: str | None = None) -> Request:
    """Read the command line of training.

    Args:
        arguments: Its words.
        about: What ``--help`` says above the options.

    Raises:
        ValueError: For an unknown data set, preset, variant or value, with the nearest known one.
        OSError: For a run folder that must not be used.
        SystemExit: After help, or after an unknown option was named together with its nearest.
    """
    early = _first_look(arguments)
    if early.resume and early.overwrite:
        raise ValueError("give either --resume, which goes on with a run, or --overwrite, which replaces it")
    words = [*arguments, "--help"] if early.help_all else list(arguments)
    saved, size, own = None, None, None
    decisions: tuple[Decision, ...] = ()
    named = early.dataset
    if named is None and early.annotations is not None:
        from asl_fast.training.own_preset import own_data_name

        named = own_data_name(early.annotations, DATASETS)
    if early.videos is not None and not early.help:
        words += ["--features", str(_extracted(_options(words, _before_derivation(named, False), about, early)))]
    folder = _resumed_folder(named, early.output) if early.resume and not early.help else None
    if folder is not None and folder.holds_a_run:
        saved = read_config(TrainConfig, folder.config)
        if folder.summary.exists() and not folder.last.exists():
            raise FileNotFoundError(
                f"nothing to resume from: {folder.path} has results, but {folder.last} is gone; --overwrite trains anew"
            )
        if early.init_from not in (None, saved.init_from):
            raise ValueError(f"--init-from is where a new run begins; {folder.path} goes on from its own checkpoint")
    elif folder is not None and early.dataset is early.annotations is early.preset is None:
        kept = f", the one before is kept in {folder.replaced}" if folder.replaced.exists() else ""
        raise FileNotFoundError(
            f"nothing to resume: {folder.path} holds no run{kept}; name the folder of one with --output, or say what "
            "to train there with --dataset or --annotations"
        )
    if saved is not None and early.preset is None and early.dataset in (None, saved.dataset):
        base = saved if early.variant is None else with_variant(saved, early.variant)
    elif early.preset is not None and early.preset not in SIZES and Path(early.preset).suffix == ".json":
        base = _preset_file(Path(early.preset), early.dataset, early.variant)
    elif early.annotations is not None and named not in DATASETS:
        from asl_fast.training.own_preset import check_units, open_configured, own_preset

        size = early.preset or "full"
        # Read twice: what was asked for decides what is derived, and may then override single fields of it.
        asked = _options(words, _before_derivation(named, early.signals is not None), about, early)
        check_ranges(asked.config)  # before the data are opened, which takes seconds for thousands of videos
        own = open_configured(asked.config, asked.manifest, asked.reading)
        if not asked.accept_units:
            check_units(own)
        base, decisions = own_preset(own, asked.config, size, early.variant)
    else:
        dataset = early.dataset or "multithumos"
        size = early.preset or ("full" if early.data_root is not None or needs_its_data(dataset) else "reduced")
        base = preset(dataset, size, early.variant)
    if saved is None and early.init_from is not None and not early.help:
        from asl_fast.training.initial import architecture
        from asl_fast.training.own_preset import OF_THE_MODEL

        found = architecture(Path(early.init_from), None if early.af_config is None else Path(early.af_config))
        base = replace(base, model=replace(found, rare_classes=base.model.rare_classes))
        decisions = tuple(each for each in decisions if each.what not in OF_THE_MODEL)
    options = _options(words, base, about, early)
    config = options.config
    # Of presets and of a run that goes on, what has no effect may stay.
    before, chosen = flatten(base.inference), flatten(config.inference)
    config.inference.check_effect([name for name in chosen if chosen[name] != before[name]], "--inference.")
    if own is None and (options.manifest is not None or options.reading.given):
        manifest = told_manifest(config.dataset, options.manifest, config.data.manifest, options.reading)
        config = replace(config, data=replace(config.data, manifest=manifest))
    config.validate()
    if folder is None:
        folder = RunFolder(config.output) if config.output is not None else next_run(config.dataset)
        if folder.holds_a_run and not options.overwrite:
            raise already_holds_a_run(folder)
    config = replace(config, output=os.fspath(folder.path))
    if saved is not None:
        _check_unchanged(saved, config, folder)
    explanation: tuple[str, ...] = ()
    if own is not None:
        from asl_fast.training.explanation import explain

        explanation = explain(own, base, config, decisions)
    overwrite = options.overwrite and folder.holds_a_run
    return Request(config, folder, options.resume, size, explanation, options.save_preset, overwrite)


def _first_look(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options that decide which values the others have unless they are given."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in (
        "dataset",
        "data-root",
        "annotations",
        "signals",
        "videos",
        "output",
        "preset",
        "variant",
        "init-from",
        "af-config",
    ):
        early.add_argument(f"--{name}", f"--{name.replace('-', '_')}", default=None)
    early.add_argument("--resume", action="store_true")
    early.add_argument("--overwrite", action="store_true")
    early.add_argument("--help-all", "--help_all", action="store_true")
    early.add_argument("--help", "-h", action="store_true")
    found, _ = early.parse_known_args(arguments)
    found.help |= found.help_all
    return found


def _before_derivation(dataset: str | None, has_signals: bool) -> TrainConfig:
    """Return the values that options have before those of one's own data are derived."""
    config = TrainConfig() if dataset is None else TrainConfig(dataset=dataset)
    if not has_signals:
        return config
    # A front-end will be derived, so its options are there to be set.
    return replace(config, model=replace(config.model, front_end=FrontEndConfig(1, (1, 1))))


def _options(words: Sequence[str], base: TrainConfig, about: str | None, early: argparse.Namespace) -> Options:
    hide_groups = early.help and not early.help_all
    return read_options(Options, "train", about, words, default=Options(config=base), hide_groups=hide_groups)


def _extracted(asked: Options) -> Path:
    """Extract the features of videos, and return their folder; name those that have none.

    Raises:
        FileNotFoundError, ValueError, ImportError: As `extract_cached`; for videos without annotations of one's own.
    """
    from asl_fast.video.cached import VideoInput, extract_cached, problem_lines

    config = asked.config
    if not config.is_own_data or config.features or config.signals is not None:
        raise ValueError("--videos need the --annotations of your own data, and stand in place of --features")
    check_ranges(config)
    given = VideoInput(asked.videos, asked.video_cache, config.device, config.data.strict)
    done = extract_cached(given, asked.recipe)
    for line in problem_lines(done):
        print(printable(line), file=sys.stderr)
    return done.folder


def _check_unchanged(saved: TrainConfig, config: TrainConfig, folder: RunFolder) -> None:
    from asl_fast.training.checkpoint import CheckpointError, describe_differences

    if differences := describe_differences(saved, config):
        raise CheckpointError(f"{folder.path} was started with another configuration: {differences}")


def _preset_file(path: Path, dataset: str | None, variant: str | None) -> TrainConfig:
    if not path.exists():
        raise FileNotFoundError(
            f"preset {path} does not exist; --save-preset writes one, the others are {', '.join(SIZES)}"
        )
    config = replace(read_config(TrainConfig, path), output=None)
    if dataset not in (None, config.dataset):
        raise ValueError(f"preset {path} is for {config.dataset!r}, not for {dataset!r}; leave out --dataset")
    return config if variant is None else with_variant(config, variant)


def _resumed_folder(dataset: str | None, output: str | None) -> RunFolder:
    if output is not None:
        return RunFolder(output)
    runs = existing_runs(dataset) if dataset is not None else []
    if not runs:
        what = f"no run of {dataset} under runs/" if dataset is not None else "no --output and no --dataset given"
        raise FileNotFoundError(f"nothing to resume: {what}; name the run folder with --output")
    return runs[-1]
