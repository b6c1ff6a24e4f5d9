# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.gain FOLDER...``: how much ASL gains over the plain detector, against how good that one is.

Reads the results.json of ablations (`benchmarks.ablation`), such as the same recordings with two detectors, and puts
them side by side, the weakest detector first: the differences with their intervals, and at which thresholds they arise.
At a low tIoU a detection needs the right class and little more, at a high one its boundaries have to be right.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asl_fast.command_line.errors import run_command
from asl_fast.files import read_json, write_text
from asl_fast.wording import count
from benchmarks.ablation_table import ROWS, SHORT, measure_name, replace_section

REFERENCE = "plain"


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gain", description=__doc__.partition(": ")[2])
    parser.add_argument("ablations", nargs="+", type=Path, metavar="FOLDER", help="folders that an ablation wrote")
    parser.add_argument("--variant", choices=tuple(ROWS), default="asl", help="whose gain")
    parser.add_argument("--results", type=Path, help="folder that table.md is written to")
    parser.add_argument("--document", type=Path, help="file whose section <!-- gain --> is replaced by the table")
    return run_command(lambda: _main(parser.parse_args(words)))


def _main(asked: argparse.Namespace) -> int:
    table = format_table([read_json(folder / "results.json") for folder in asked.ablations], asked.variant)
    print(table)
    if asked.results is not None:
        asked.results.mkdir(parents=True, exist_ok=True)
        write_text(asked.results / "table.md", table)
    if asked.document is not None:
        replace_section(asked.document, "gain", table)
    return 0


def format_table(reports: Sequence[dict[str, Any]], variant: str) -> str:
    """Write a row per ablation and reference, and a row of gains per threshold for each ablation.

    Raises:
        ValueError: Naming the ablation that does not compare the variant with the plain detector.
    """
    for report in reports:
        if not {variant, REFERENCE} <= report["rows"].keys():
            raise ValueError(
                f"{report['dataset']}: the ablation has {', '.join(report['rows'])}, not {variant} and plain"
            )
    ordered = sorted(reports, key=lambda report: statistics.mean(_averages(report, REFERENCE)))
    measures = list(next(iter(ordered[0]["rows"].values()))[0]["scores"])
    heads = [f"{measure_name(ordered[0], name)}: plain detector" for name in measures]
    lines = [
        f"| data, from the weakest detector | {' | '.join(heads)} | {variant} above | "
        f"{' | '.join(measure_name(ordered[0], name) for name in measures)} |",
        f"|{' --- |' * (2 + 2 * len(measures))}",
    ]
    for report in ordered:
        for reference in SHORT:
            found = {
                each["measure"]: each
                for each in report["differences"]
                if (each["variant"], each["against"]) == (variant, reference)
            }
            if not found:
                continue
            plain = [f"{100 * statistics.mean(_averages(report, REFERENCE, name)):.1f}" for name in measures]
            name = f"{report['dataset']}, {count(len(found[measures[0]]['seeds']), 'seed')}"
            cells = [name, *plain, SHORT[reference], *(_points(found[measure]) for measure in measures)]
            lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        *_by_threshold(ordered, variant),
        "",
        "Points of mAP; in brackets 95 % of the mean, see the ablations.",
    ]
    return "\n".join(lines) + "\n"


def _by_threshold(reports: Sequence[dict[str, Any]], variant: str) -> list[str]:
    """Write at which thresholds the first measure differs, for the ablations that share them."""
    thresholds = _scores(reports[0], REFERENCE)[0]["tiou_thresholds"]
    lines = [
        f"| mAP at one tIoU | {' | '.join(f'{threshold:g}' for threshold in thresholds)} |",
        f"|{' --- |' * (1 + len(thresholds))}",
    ]
    for report in reports:
        if _scores(report, REFERENCE)[0]["tiou_thresholds"] != thresholds:
            continue
        plain, own = (_mean_by_threshold(report, name) for name in (REFERENCE, variant))
        for words, values, form in (
            ("plain detector", plain, ".1f"),
            (f"{variant} above it", [a - b for a, b in zip(own, plain, strict=True)], "+.1f"),
        ):
            lines.append(
                f"| {report['dataset']}, {words} | {' | '.join(f'{100 * value:{form}}' for value in values)} |"
            )
    return lines


def _mean_by_threshold(report: dict[str, Any], variant: str) -> list[float]:
    return [statistics.mean(values) for values in zip(*(each["map"] for each in _scores(report, variant)), strict=True)]


def _scores(report: dict[str, Any], variant: str, measure: str | None = None) -> list[dict[str, Any]]:
    """Return what a measure, the first where none is named, gives every run."""
    return [run["scores"][measure or next(iter(run["scores"]))] for run in report["rows"][variant]]


def _averages(report: dict[str, Any], variant: str, measure: str | None = None) -> list[float]:
    return [each["average_map"] for each in _scores(report, variant, measure)]


def _points(each: dict[str, Any]) -> str:
    ahead = sum(value > 0 for value in each["each"])
    bounds = f"[{100 * each['low']:+.1f}, {100 * each['high']:+.1f}]"
    return f"{100 * each['mean']:+.1f} {bounds}, ahead with {ahead} of {len(each['each'])}"


if __name__ == "__main__":
    sys.exit(main())
