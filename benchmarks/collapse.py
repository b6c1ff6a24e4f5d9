# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.collapse FOLDER...``: whether a run of an ablation failed and others of its kind did not.

Reads the results.json of ablations (`benchmarks.ablation`) and says for every variant how far its lowest run lies below
the mean, in standard deviations, that of all its runs and that of the others alone.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asl_fast.command_line.errors import run_command
from asl_fast.files import read_json, write_json, write_text
from benchmarks.ablation_table import ROWS, measure_name, replace_section

LEAST_RUNS = 3
"""Two runs lie equally far from their mean, whatever they are."""
TITLE = "# Does a run collapse?"


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.collapse", description=__doc__.partition(": ")[2])
    parser.add_argument("ablations", nargs="+", type=Path, metavar="FOLDER", help="folders that an ablation wrote")
    parser.add_argument("--results", type=Path, help="folder that table.md and results.json are written to")
    parser.add_argument("--document", type=Path, help="file whose section <!-- collapse --> is replaced by the tables")
    return run_command(lambda: _main(parser.parse_args(words)))


def _main(asked: argparse.Namespace) -> int:
    reports = {folder: read_json(folder / "results.json") for folder in asked.ablations}
    table = format_tables(list(reports.values()))
    print(table)
    if asked.results is not None:
        asked.results.mkdir(parents=True, exist_ok=True)
        today = datetime.date.today().isoformat()
        content = {
            "date": today,
            "command": "python -m benchmarks.collapse " + " ".join(map(str, asked.ablations)),
            **{report["dataset"]: first_scores(report) for report in reports.values()},
        }
        write_json(asked.results / "results.json", content, indent=1)
        source = ", ".join(folder.name for folder in reports)
        write_text(asked.results / "table.md", f"{TITLE}\n\n{table}\n{today}, CPU, from {source}.\n")
    if asked.document is not None:
        replace_section(asked.document, "collapse", table)
    return 0


def first_scores(report: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return the average mAP of every run, by variant and seed, in the first of the ablation's measures."""
    return {
        variant: {str(run["seed"]): next(iter(run["scores"].values()))["average_map"] for run in runs}
        for variant, runs in report["rows"].items()
    }


def format_tables(reports: Sequence[dict[str, Any]]) -> str:
    """Write a table per ablation, and how to read them."""
    lines = [
        "Average mAP in percent of every finished run. A run whose boundary head had died stood at 19.2 (twin, p + q, "
        "seed 3), before heads could no longer die; that seed is among these.",
        "",
    ]
    for report in reports:
        kind = "synthetic twin" if report["synthetic"] else "real data"
        measure = measure_name(report, next(iter(next(iter(report["rows"].values()))[0]["scores"])))
        lines.append(
            f"| {report['dataset']}, {kind}, {measure} | seeds | mean | standard deviation | lowest | below the mean, "
            "in standard deviations | from the others alone |"
        )
        lines.append(f"|{' --- |' * 7}")
        for variant, values in first_scores(report).items():
            if len(values) >= LEAST_RUNS:
                lines.append(_row(variant, values))
        lines.append("")
    lines.append(
        "Of n runs none can lie more than (n - 1) / sqrt(n) standard deviations below a mean that it is part of (4.2 "
        'for 20, 1.8 for five), so for five a limit of 4 says little. "From the others alone" leaves the lowest run '
        "out of mean and standard deviation: a run among four others that happen to lie close together is then far "
        f"from them without having failed. Variants with fewer than {LEAST_RUNS} runs are left out."
    )
    return "\n".join(lines) + "\n"


def _row(variant: str, values: dict[str, float]) -> str:
    lowest = min(values, key=lambda seed: values[seed])
    others = [value for seed, value in values.items() if seed != lowest]
    cells = [
        ROWS[variant],
        _runs(sorted(map(int, values))),
        f"{100 * statistics.mean(values.values()):.1f}",
        f"{100 * statistics.stdev(values.values()):.1f}",
        f"{100 * values[lowest]:.1f} (seed {lowest})",
        *(_below(values[lowest], each) for each in (list(values.values()), others)),
    ]
    return f"| {' | '.join(cells)} |"


def _below(value: float, values: Sequence[float]) -> str:
    spread = statistics.stdev(values)
    return f"{(statistics.mean(values) - value) / spread:.1f}" if spread > 0 else ""


def _runs(seeds: Sequence[int]) -> str:
    """Write 1, 2, 3, 5 as "1 to 3, 5"."""
    words = []
    for _, members in itertools.groupby(enumerate(seeds), lambda pair: pair[1] - pair[0]):
        group = [seed for _, seed in members]
        words.append(f"{group[0]} to {group[-1]}" if len(group) > 2 else ", ".join(map(str, group)))
    return ", ".join(words)


if __name__ == "__main__":
    sys.exit(main())
