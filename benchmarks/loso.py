# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.loso``: the table of Bock et al. on SBHAR (UCI HAPT), leaving one subject out.

Their protocol ("Temporal Action Localization for Inertial-based Human Activity Recognition", IMWUT 2024), as their
public code has it: 30 users, the recordings of each joined to one sequence; as many detectors as users, each scored on
the user that it has not seen, in all 12 activities; mean average precision at tIoU 0.3 to 0.7 by ActionFormer's
evaluator, averaged over users and thresholds, and over three seeds. It is scored once with all detections and once
with those whose score is above 0.3. Theirs sees the three channels of the accelerometer; here there is a row for the
gyroscope beside it too.

A finished fold is not repeated, so that an interrupted table continues where it stopped; ``--report`` prints what is
there.
"""

from __future__ import annotations

import datetime
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from asl_fast.command_line.errors import CommandError, run_command
from asl_fast.data.datasets.hapt import read_hapt
from asl_fast.evaluation.activitynet_json import read_detections, read_ground_truth
from asl_fast.evaluation.mean_ap import mean_average_precision
from asl_fast.files import read_json, write_json, write_text
from asl_fast.training.run_folder import RunFolder
from asl_fast.wording import count
from benchmarks.training_runs import TrainingRun, carry_out, check_asked

TIOU_THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
CONVENTION = "actionformer"  # their evaluator is its, with its treatment of classes that a user does not have
SCORE_THRESHOLDS = (0.0, 0.3)
PUBLISHED = {"ActionFormer": 0.943, "TriDet": 0.940, "TemporalMaxer": 0.939}
"""Average mAP of Bock et al. on SBHAR, from the curves that they publish; three channels, 100 epochs."""


@dataclass(frozen=True)
class LeaveOneOut:
    """Train one detector per left-out user, for every row of the table.

    Attributes:
        dataset: Only hapt has users.
        data_root: The UCI HAPT zip or its unpacked folder.
        channels: A row for each: 3 is the acceleration alone, 6 also the angular velocity.
        variants: A row for each: what the detector is trained with.
        seeds: One detector per user and row for each; a row is finished for one seed before the next begins.
        users: Users to leave out; all unless given.
        output: Folder of the runs.
        results: Folder that table.md and results.json are written to; None writes none.
        report: Only say what is finished, without training.
        jobs: Folds at a time.
        threads: CPU threads of one fold; 0 leaves torch's choice.
        prefix: Words before every training command, such as "nice -n 19".
        keep_checkpoints: Keep the weights of finished folds, about 20 MB each.
        options: Further flags for every training run, after ``--``.
    """

    dataset: Literal["hapt"] = "hapt"
    data_root: Path = Path("data/hapt")
    channels: tuple[Literal[3, 6], ...] = (6, 3)
    variants: tuple[str, ...] = ("asl", "plain")
    seeds: tuple[int, ...] = (1, 2, 3)
    users: tuple[int, ...] = ()
    output: Path = Path("runs/loso")
    results: Path | None = None
    report: bool = False
    jobs: int = 1
    threads: int = 0
    prefix: str = ""
    keep_checkpoints: bool = False
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """One detector's row with one seed: a run for every user.

    Attributes:
        channels: Used.
        variant: Trained with.
        seed: Of all its runs.
        folds: Its runs, by the user left out.
    """

    channels: int
    variant: str
    seed: int
    folds: dict[int, TrainingRun]

    @property
    def name(self) -> str:
        """Row and seed in words."""
        return f"{self.variant}, {self.channels} channels, seed {self.seed}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return run_command(lambda: _main(words))


def _main(words: list[str]) -> int:
    options: tuple[str, ...] = ()
    if "--" in words:
        words, options = words[: words.index("--")], tuple(words[words.index("--") + 1 :])
    asked = tyro.cli(LeaveOneOut, prog="python -m benchmarks.loso", args=words)
    check_asked(asked.variants, asked.jobs)
    users = asked.users or tuple(sorted(set(read_hapt(asked.data_root).users.values())))
    rows = list(table_rows(asked, users, asked.options + options))
    failures = []
    if not asked.report:

        def finished(run: TrainingRun) -> None:
            if not asked.keep_checkpoints:
                for path in (run.folder.last, run.folder.best):
                    path.unlink(missing_ok=True)

        for row in rows:
            failures += carry_out(
                list(row.folds.values()), jobs=asked.jobs, prefix=shlex.split(asked.prefix), finished=finished
            )
            print(format_table(collect(rows)), flush=True)
            _write(asked, rows, options)
    else:
        print(format_table(collect(rows)))
        _write(asked, rows, options)
    if failures:
        raise CommandError("; ".join(map(str, failures)), status=1)
    return 0


def table_rows(asked: LeaveOneOut, users: Sequence[int], options: Sequence[str]) -> Iterator[Row]:
    """List the rows in the order of their training: with one seed all of them, then with the next."""
    for seed in asked.seeds:
        for channels in asked.channels:
            for variant in asked.variants:
                folder = asked.output / f"{variant}-{channels}channels-seed{seed}"
                folds = {}
                for user in users:
                    words = ["--dataset", asked.dataset, "--data-root", str(asked.data_root), "--variant", variant]
                    words += ["--data.left-out-user", str(user), "--data.num-channels", str(channels)]
                    words += ["--seed", str(seed), "--threads", str(asked.threads), *options]
                    name = f"{variant}, {channels} channels, seed {seed}, user {user}"
                    folds[user] = TrainingRun(name, RunFolder(folder / f"user{user:02d}"), tuple(words))
                yield Row(channels, variant, seed, folds)


def score_fold(folder: RunFolder, min_score: float) -> list[float]:
    """Score the detections on one left-out user.

    Args:
        folder: Of the fold's run.
        min_score: Only detections with a higher score count.

    Returns:
        Mean average precision at each of ``TIOU_THRESHOLDS``.
    """
    truth = read_ground_truth(folder.ground_truth)
    found = read_detections(folder.detections).columns
    kept = found["scores"] > min_score
    # By number, as their files have them: the evaluator takes numbers of classes that the user has not for others.
    names: list[str] = read_json(folder.dataset)["class_names"]
    numbers = {name: index for index, name in enumerate(names)}

    def numbered(columns: dict[str, Any]) -> dict[str, Any]:
        return columns | {"labels": np.array([numbers[name] for name in columns["labels"].tolist()], dtype=np.int64)}

    predictions = numbered({key: found[key][kept] for key in ("video", "segments", "labels", "scores")})
    return mean_average_precision(
        numbered(truth.columns), predictions, TIOU_THRESHOLDS, convention=CONVENTION
    ).map.tolist()


def collect(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Score all finished folds: per row and seed what each user's fold gave, and their mean."""
    found = []
    for row in rows:
        done = {user: run.folder for user, run in row.folds.items() if run.is_finished}
        if not done:
            continue
        epochs = sorted({read_json(folder.summary)["epochs"] for folder in done.values()})
        scores = {}
        for least in SCORE_THRESHOLDS:
            folds = {user: score_fold(folder, least) for user, folder in done.items()}
            per_tiou = np.mean(list(folds.values()), axis=0)
            scores[f"{least:g}"] = {
                "folds": {str(user): values for user, values in folds.items()},
                "map": per_tiou.tolist(),
                "average_map": float(per_tiou.mean()),
            }
        found.append(
            {
                "channels": row.channels,
                "variant": row.variant,
                "seed": row.seed,
                "users": len(row.folds),
                "finished": len(done),
                "epochs": epochs,
                "scores": scores,
            }
        )
    return found


def format_table(found: Sequence[dict[str, Any]]) -> str:
    """Write Markdown: per row the average mAP over users and thresholds, mean and spread over finished seeds.

    A row that has users left for a seed stands by itself, with the number of users it is the mean of.
    """
    heads = " | ".join(f"tIoU {threshold:g}" for threshold in TIOU_THRESHOLDS)
    lines = [
        f"| detector | channels | seeds | users | {heads} | average mAP | with score > {SCORE_THRESHOLDS[1]:g} |",
        "| --- " * (6 + len(TIOU_THRESHOLDS)) + "|",
    ]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in found:
        whole = row["finished"] == row["users"]
        key = (row["variant"], row["channels"], row["users"], *(() if whole else (row["seed"],)))
        groups.setdefault(key, []).append(row)
    for group in groups.values():
        first = group[0]
        per_tiou = np.mean([row["scores"]["0"]["map"] for row in group], axis=0)
        cells = [
            first["variant"],
            str(first["channels"]),
            ", ".join(str(row["seed"]) for row in group),
            f"{first['finished']} of {first['users']}",
            *(f"{100 * value:.1f}" for value in per_tiou),
            *(_percent([row["scores"][f"{least:g}"]["average_map"] for row in group]) for least in SCORE_THRESHOLDS),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    blanks = " | ".join("" for _ in TIOU_THRESHOLDS)
    for name, value in PUBLISHED.items():
        lines.append(f"| {name} (Bock et al.) | 3 | 1, 2, 3 | 30 of 30 | {blanks} | {100 * value:.1f} |  |")
    epochs = sorted({number for row in found for number in row["epochs"]})
    lines += [
        "",
        "UCI HAPT (SBHAR) without one user at a time, each user's recordings as one sequence: average mAP in percent, "
        f"mean over users and thresholds, ± standard deviation over seeds. {_epochs(epochs)}Published figures are read "
        "off the authors' curves.",
    ]
    return "\n".join(lines) + "\n"


def _percent(values: Sequence[float]) -> str:
    # Over all of them, not over all but one, as theirs.
    spread = f" ± {100 * np.std(values):.1f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):.1f}{spread}"


def _epochs(numbers: Sequence[int]) -> str:
    if not numbers:
        return "No fold is finished. "
    return f"{' or '.join(map(str, numbers))} {'epoch' if numbers == [1] else 'epochs'} of training. "


def _write(asked: LeaveOneOut, rows: Sequence[Row], options: Sequence[str]) -> None:
    if asked.results is None:
        return
    found = collect(rows)
    asked.results.mkdir(parents=True, exist_ok=True)
    command = "python -m benchmarks.loso --dataset hapt --data-root DIR"
    content = {
        "command": command + (f" -- {' '.join(options)}" if options else ""),
        "date": datetime.date.today().isoformat(),
        "convention": CONVENTION,
        "tiou_thresholds": TIOU_THRESHOLDS,
        "rows": found,
    }
    write_json(asked.results / "results.json", content, indent=1)
    write_text(asked.results / "table.md", format_table(found))
    print(f"{count(len(found), 'row')} written to {asked.results}")


if __name__ == "__main__":
    sys.exit(main())
