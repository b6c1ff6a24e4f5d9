# SPDX-License-Identifier: Apache-2.0
"""An ablation as Markdown: the scores of its variants, and their differences with intervals."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from asl_fast.files import read_text, write_text
from asl_fast.wording import count

ROWS = {
    "plain": "plain detector (ActionFormer's loss)",
    "constant": "constant-weight control",
    "p": "p: class-level sensitivity",
    "q": "q: instance-level sensitivity",
    "p+q": "p + q (ASE)",
    "ascl": "contrastive alone, around fixed Gaussians (ASCL)",
    "p+ascl": "p + contrastive",
    "asl": "p + q + contrastive (ASL)",
    "asl-paper": "ASL to the letter of its paper",
}
SHORT = {"plain": "plain detector", "constant": "constant-weight control"}
RECOVERED = {"mu_class": "mu", "mu_start": "mu_start", "mu_end": "mu_end"}


def format_table(report: dict[str, Any]) -> str:
    """Write the scores (mean and spread over seeds), what they come from, and the differences."""
    lines = [*_scores(report), "", _origin(report)]
    for reference in SHORT:
        if compared := [each for each in report["differences"] if each["against"] == reference]:
            lines += ["", *_differences(report, reference, compared)]
    if report["differences"]:
        lines += ["", _reading(report)]
    return "\n".join(lines) + "\n"


def measure_name(report: dict[str, Any], measure: str) -> str:
    """Name a measure as heads of columns do."""
    sample = next(iter(report["rows"].values()))[0]
    if measure not in sample["scores"]:
        return measure
    return f"average mAP, tIoU {_range(sample['scores'][measure]['tiou_thresholds'])}"


def _scores(report: dict[str, Any]) -> Iterator[str]:
    sample = next(iter(report["rows"].values()))[0]
    measures, others = list(sample["scores"]), list(sample["others"])
    twin = any(run["recovery"] for runs in report["rows"].values() for run in runs)
    heads = [measure_name(report, name) for name in (*measures, *others)]
    if twin:
        heads += [f"r of {name} with planted" for name in RECOVERED.values()]
    most = max(map(len, report["rows"].values()))
    yield f"| variant | {' | '.join(heads)} |"
    yield f"| --- | {' | '.join('---' for _ in heads)} |"
    for variant, runs in report["rows"].items():
        cells = [_mean_and_spread([run["scores"][name]["average_map"] for run in runs], 4) for name in measures]
        cells += [_mean_and_spread([run["others"][name] for run in runs], 4) for name in others]
        for key in RECOVERED if twin else ():
            # A variant without the class level has nothing to compare.
            found = [run["recovery"][key] for run in runs if run["recovery"]]
            cells.append(_mean_and_spread(found, 2) if found else "")
        fewer = f", {count(len(runs), 'seed')}" if len(runs) < most else ""
        yield f"| {ROWS[variant]}{fewer} | {' | '.join(cells)} |"


def _origin(report: dict[str, Any]) -> str:
    seeds = sorted({run["seed"] for runs in report["rows"].values() for run in runs})
    kind = "synthetic twin" if report["synthetic"] else "real data"
    which = f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
    return (
        f"{report['dataset']}, {kind}, {count(report['recordings'], 'test recording')}, {which}: mean ± standard "
        f"deviation over seeds. `{report['command']}`, {report['date']}, CPU, {report['jobs']} run(s) at a time with "
        f"{report['threads']} thread(s) each, median training time {report['training_seconds_median']:.0f} s."
    )


def _differences(report: dict[str, Any], reference: str, compared: Sequence[dict[str, Any]]) -> Iterator[str]:
    measures = list(dict.fromkeys(each["measure"] for each in compared))
    variants = list(dict.fromkeys(each["variant"] for each in compared))
    by_place = {(each["variant"], each["measure"]): each for each in compared}
    yield f"| above the {SHORT[reference]} | {' | '.join(measure_name(report, name) for name in measures)} |"
    yield f"| --- | {' | '.join('---' for _ in measures)} |"
    for variant in variants:
        cells = [_difference(by_place[variant, name]) for name in measures]
        yield f"| {ROWS[variant]} | {' | '.join(cells)} |"


def _difference(each: dict[str, Any]) -> str:
    ahead = sum(value > 0 for value in each["each"])
    return (
        f"{each['mean']:+.4f} [{each['low']:+.4f}, {each['high']:+.4f}], ahead with {ahead} of "
        f"{count(len(each['each']), 'seed')}"
    )


def _reading(report: dict[str, Any]) -> str:
    return (
        "Differences of the same seed on the same recordings, in brackets where their mean lies with 95 % confidence: "
        f"recordings and seeds drawn anew {report['draws']} times, few seeds counting as the few they are "
        "(`benchmarks/resampling.py`)."
    )


def _mean_and_spread(values: Sequence[float], digits: int) -> str:
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def _range(thresholds: Sequence[float]) -> str:
    if len(thresholds) == 1:
        return str(thresholds[0])
    return f"{thresholds[0]:g}:{thresholds[1] - thresholds[0]:.2g}:{thresholds[-1]:g}"


def replace_section(path: Path, name: str, text: str) -> None:
    """Put ``text`` between the markers of section ``name``.

    Raises:
        ValueError: When the file has no such section.
    """
    old = read_text(path)
    pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not pattern.search(old):
        raise ValueError(f"{path} has no section <!-- {name} --> ... <!-- end -->; add the two markers")
    write_text(path, pattern.sub(lambda match: f"{match[1]}{text}{match[2]}", old))
