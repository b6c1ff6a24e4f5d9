# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.ablation``: what each part of ASL is worth on one data set, over several seeds.

Trains every variant of the loss with every seed, each as its own run of ``python -m asl_fast.train``, on a data set
that is known by name or on one's own (``--annotations``, ``--features``). Writes a table of mean and spread, and how
much each variant differs from the plain detector and from the constant-weight control: same seed, same recordings,
with a 95 % interval over recordings and seeds drawn anew. On a synthetic twin also how well the planted sensitivities
were found. A finished run is not repeated, so an interrupted ablation continues where it stopped; ``--report`` only
says what is there.
"""

from __future__ import annotations

import datetime
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from asl_fast.command_line.errors import CommandError, run_command
from asl_fast.data.custom.data import own_name
from asl_fast.files import read_json, write_json, write_text
from asl_fast.training.presets import VARIANTS
from asl_fast.training.run_folder import RunFolder
from benchmarks.ablation_plot import draw_differences
from benchmarks.ablation_scores import (
    ScoredRun,
    as_rows,
    check_same_recordings,
    differences,
    median_seconds,
    score_run,
)
from benchmarks.ablation_table import format_table, replace_section
from benchmarks.training_runs import TrainingRun, carry_out, check_asked


@dataclass(frozen=True)
class Ablation:
    """Compare the variants of the loss.

    Attributes:
        dataset: Name of the data set; one's own is named after its annotations unless this is given.
        data_root: Where the real data lie; None uses the synthetic twin.
        annotations: Annotation file of one's own data.
        features: Feature folders or .h5 files of one's own data.
        seeds: One run of every variant for each.
        variants: Rows of the table.
        output: Folder of the runs.
        results: Folder that table.md, results.json and differences.svg are written to; None makes one under
            benchmarks/results.
        document: File whose section between ``<!-- ablation DATASET -->`` and ``<!-- end -->`` is replaced by the
            table; the project's own is docs/results.md.
        report: Only say what is finished, without training.
        draws: How many times recordings and seeds are drawn for the intervals.
        jobs: Runs at a time; each uses ``threads`` CPU threads.
        threads: CPU threads of one run; 0 leaves torch's choice.
        prefix: Words before every training command, such as "nice -n 19".
        options: Further flags for every training run, after ``--``.
    """

    dataset: str | None = None
    data_root: str | None = None
    annotations: str | None = None
    features: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    variants: tuple[str, ...] = tuple(VARIANTS)
    output: Path = Path("runs/ablation")
    results: Path | None = None
    document: Path | None = None
    report: bool = False
    draws: int = 1000
    jobs: int = 1
    threads: int = 0
    prefix: str = ""
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the data set."""
        return self.dataset or (own_name(self.annotations) if self.annotations is not None else "hapt")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return run_command(lambda: _main(words))


def _main(words: list[str]) -> int:
    options: tuple[str, ...] = ()
    if "--" in words:
        words, options = words[: words.index("--")], tuple(words[words.index("--") + 1 :])
    asked = tyro.cli(Ablation, prog="python -m benchmarks.ablation", args=words)
    _check(asked)
    options = (*options, *asked.options)
    runs = planned(asked, options)
    failures = []
    if not asked.report:
        # Seed by seed, so that an interrupted ablation has whole comparisons.
        order = [runs[variant][seed] for seed in asked.seeds for variant in asked.variants]
        failures = carry_out(order, jobs=asked.jobs, prefix=shlex.split(asked.prefix))
    scored = score(asked, runs)
    if scored:
        _write(asked, describe(asked, options, scored))
    elif asked.report:
        raise CommandError(f"no run is finished in {asked.output / asked.name}; leave out --report to train")
    if failures:
        raise CommandError("; ".join(map(str, failures)), status=1)
    return 0


def _check(asked: Ablation) -> None:
    """Refuse what cannot be trained before anything is.

    Raises:
        ValueError: Naming the option.
    """
    check_asked(asked.variants, asked.jobs)
    if asked.draws < 1:
        raise ValueError(f"--draws must be at least 1, found {asked.draws}")
    for option in ("seeds", "variants"):
        given = getattr(asked, option)
        if not given or len(set(given)) < len(given):
            raise ValueError(
                f"--{option} must name one or more, each once, found {' '.join(map(str, given)) or 'none'}"
            )


def planned(asked: Ablation, options: Sequence[str]) -> dict[str, dict[int, TrainingRun]]:
    """List the runs by variant and seed."""
    data = ["--dataset", asked.dataset] if asked.dataset is not None else []
    data += ["--data-root", asked.data_root] if asked.data_root is not None else []
    data += ["--annotations", asked.annotations] if asked.annotations is not None else []
    data += ["--features", *asked.features] if asked.features else []
    if asked.dataset is asked.annotations is None:
        data += ["--dataset", asked.name]

    def run(variant: str, seed: int) -> TrainingRun:
        words = [*data, "--variant", variant, "--seed", str(seed), "--threads", str(asked.threads), *options]
        folder = RunFolder(asked.output / asked.name / f"{variant}-seed{seed}")
        return TrainingRun(f"{variant} seed {seed}", folder, tuple(words))

    return {variant: {seed: run(variant, seed) for seed in asked.seeds} for variant in asked.variants}


def score(asked: Ablation, runs: dict[str, dict[int, TrainingRun]]) -> dict[str, list[ScoredRun]]:
    """Score what is finished, by variant.

    Raises:
        ValueError: When runs cannot be compared, see `benchmarks.ablation_scores`.
    """
    scored = {
        variant: [score_run(run.folder, seed, asked.draws) for seed, run in by_seed.items() if run.is_finished]
        for variant, by_seed in runs.items()
    }
    check_same_recordings([run for each in scored.values() for run in each])
    return {variant: each for variant, each in scored.items() if each}


def describe(asked: Ablation, options: Sequence[str], scored: dict[str, list[ScoredRun]]) -> dict[str, Any]:
    """Gather the scores, the differences, and what is needed to tell what they are, as plain data."""
    first = next(iter(scored.values()))[0]
    environment = read_json(first.folder.environment)
    command = "python -m benchmarks.ablation"
    command += f" --dataset {asked.name}" if asked.annotations is None or asked.dataset is not None else ""
    command += " --data-root DIR" if asked.data_root is not None else ""
    command += " --annotations FILE --features DIR" if asked.annotations is not None else ""
    return {
        "dataset": asked.name,
        "synthetic": environment["synthetic"],
        "command": command + (f" -- {' '.join(options)}" if options else ""),
        "date": datetime.date.today().isoformat(),
        "environment": {key: environment[key] for key in ("git", "versions", "python", "platform", "processors")},
        "training_seconds_median": median_seconds(scored),
        "jobs": asked.jobs,
        "threads": environment["threads"],
        "recordings": len(first.recordings),
        "draws": asked.draws,
        "rows": as_rows(scored),
        "differences": differences(scored),
    }


def _write(asked: Ablation, report: dict[str, Any]) -> None:
    table = format_table(report)
    folder = asked.results or Path("benchmarks/results") / f"ablation-{asked.name}-{report['date']}"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "results.json", report, indent=1)
    write_text(folder / "table.md", table)
    if asked.document is not None:
        replace_section(asked.document, f"ablation {asked.name}", table)
    drawn = draw_differences(report, folder / "differences.svg")
    print(f"{table}\nwritten to {folder}{'' if drawn else '; a plot too with pip install -e .[plot]'}")


if __name__ == "__main__":
    sys.exit(main())
