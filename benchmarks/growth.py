# SPDX-License-Identifier: Apache-2.0
"""``python benchmarks/growth.py``: how time and peak memory grow with what users have more of, and by which power.

Curves: a training step against the length of videos (windowed and full attention), the number of classes, the
instances of a video and the videos of a batch; evaluation against the number of predictions. A curve's exponent is the
slope of log(time) over log(size) from a tenth of its largest size on, where fixed costs no longer hide it, and beside
it that between its two largest sizes: 1 is linear. The detector is small (width 32), which changes the height of a
curve and not its slope: one run takes minutes on two cores.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # started as a file: the checkout, not its folder benchmarks, holds the modules
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch

from asl_fast.files import atomic_write, read_json, write_json
from benchmarks import record
from benchmarks.growth_plot import draw_growth
from benchmarks.jobs.bench_evaluation import evaluate, make_tables
from benchmarks.jobs.bench_training_step import Trainer
from benchmarks.memory import peak_bytes
from benchmarks.shapes import Shape, small_shape
from benchmarks.timing import measure

WIDTH, LEVELS, WINDOW = 32, 6, 9
PREDICTIONS_PER_VIDEO, INSTANCES_PER_VIDEO = 2000, 70
Call = Callable[[], Any]


@dataclass(frozen=True)
class Curve:
    """One thing that grows.

    Attributes:
        name: What is measured against what.
        sizes: Of what grows.
        make: Gives for a size the call that is measured.
        why: Why it may grow faster than its size; empty where it must not.
    """

    name: str
    sizes: tuple[int, ...]
    make: Callable[[int], Call]
    why: str = ""


def _step(*, length: int = 1024, classes: int = 20, instances: int = 15, batch: int = 1, window: int = WINDOW) -> Call:
    """Make a training step of a small detector on random features."""
    base = small_shape("thumos14")
    model = replace(
        base.config.model,
        feature_dim=WIDTH,
        num_classes=classes,
        width=WIDTH,
        num_levels=LEVELS,
        attention_windows=(window,),
        max_length_grid=length,
    )
    data = replace(base.config.data, max_length=length)
    config = replace(base.config, batch_size=batch, data=data, model=model)
    each = Shape("growth", config, instances, 8.0)
    trainer, targets = Trainer(each, "cpu"), each.targets("cpu")
    features = torch.randn(batch, length, WIDTH, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(batch, length, dtype=torch.bool)
    return lambda: trainer(features, mask, targets)


def _evaluation(predictions: int) -> Call:
    videos = max(1, predictions // PREDICTIONS_PER_VIDEO)
    tables = make_tables(videos, videos * INSTANCES_PER_VIDEO, PREDICTIONS_PER_VIDEO, 97)
    return lambda: evaluate(*tables)


CURVES = (
    Curve("step / length, windowed attention", (256, 1024, 4096, 16384, 65536), lambda size: _step(length=size)),
    Curve(
        "step / length, full attention",
        (256, 1024, 4096, 8192, 16384, 32768),  # beyond, a step takes four minutes and tells nothing new
        lambda size: _step(length=size, window=0),
        "in full attention every step looks at every other; the matrix of their scores is never held, so that "
        "memory stays linear; recordings of many steps take windows",
    ),
    Curve("step / classes", (20, 100, 500, 2000, 4000), lambda size: _step(classes=size)),
    Curve(
        "step / instances of a video",
        (1, 10, 100, 500, 1000, 2500, 5000),
        lambda size: _step(length=4096, instances=size),
        "the contrastive loss compares every instance with every other",
    ),
    Curve("step / videos of a batch", (1, 2, 4, 8, 16, 32), lambda size: _step(batch=size)),
    Curve(
        "evaluation / predictions",
        (10**4, 10**5, 10**6, 10**7),
        _evaluation,
        "predictions are sorted by their score, which takes n log n, and ten million leave the processor's caches",
    ),
)


def exponent(sizes: Sequence[float], values: Sequence[float], *, last: int | None = None) -> float | None:
    """Fit the power by which values grow; None where two points are not left.

    Args:
        sizes: Rising, positive.
        values: Of each size; what is not positive was too small to be measured and is left out.
        last: Points that count, the largest ones; None takes all from a tenth of the largest size on.
    """
    kept = [(size, value) for size, value in zip(sizes, values, strict=True) if value > 0]
    kept = [each for each in kept if 10 * each[0] >= sizes[-1]] if last is None else kept[-last:]
    if len(kept) < 2:
        return None
    logs = np.log(np.array(kept))
    return float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0])


def measure_curve(curve: Curve, *, most: float, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure the sizes of a curve in turn.

    Args:
        curve: What to measure.
        most: Largest size that is measured.
        seconds: Of each size, beyond the first call; a size whose call takes longer is called once.
        say: Told of each size.
    """
    points = []
    for size in (each for each in curve.sizes if each <= most):
        call = curve.make(size)
        found = measure({"call": call}, (), seconds=seconds, min_rounds=3, cpu_time=True)["call"]
        point = {"size": size, "seconds": found.median, "rounds": found.rounds, "bytes": peak_bytes(call, "cpu")}
        points.append(point)
        say(f"{curve.name}: {size:,} takes {point['seconds']:.3g} s, {point['bytes'] / 1e6:,.0f} MB")
    sizes = [point["size"] for point in points]
    values = {key: [point[key] for point in points] for key in ("seconds", "bytes")}
    grown = {key: exponent(sizes, each) for key, each in values.items()}
    ends = {key: exponent(sizes, each, last=2) for key, each in values.items()}
    return {"curve": curve.name, "points": points, "exponents": grown, "at_the_end": ends, "why": curve.why}


def table(report: dict[str, Any]) -> str:
    """Put a report into Markdown: a row per curve, its exponents and its measured sizes."""
    commits = list(dict.fromkeys(str(each["commit"]) for each in report["curves"]))
    lines = [
        "# Growth of time and memory",
        "",
        f"{report['device']}, 1 thread, processor time, commit {', '.join(commits)}. A small detector (width {WIDTH}, "
        f"{LEVELS} levels). The exponents are slopes",
        "of log(time) and log(peak memory) over log(size), from a tenth of the largest size on, in brackets between",
        "the two largest sizes: 1 is linear, and what is below has fixed costs that still count.",
        "",
        "| curve | time grows by the power | memory | sizes: seconds, MB |",
        "| --- | --- | --- | --- |",
    ]
    for each in report["curves"]:
        pairs = zip(each["exponents"].values(), each["at_the_end"].values(), strict=True)
        powers = ["-" if power is None or end is None else f"{power:.2f} ({end:.2f})" for power, end in pairs]
        sizes = "; ".join(f"{p['size']:,}: {p['seconds']:.3g}, {p['bytes'] / 1e6:,.0f}" for p in each["points"])
        lines.append(f"| {each['curve']} | {' | '.join(powers)} | {sizes} |")
    reasons = [f"- {each['curve']}: {each['why']}." for each in report["curves"] if each["why"]]
    return "\n".join([*lines, *(["", "Worse than linear:", "", *reasons] if reasons else [])]) + "\n"


def _written(report: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write a report, its table and its plot; return it with the curves that were there before and were not measured.

    Curves stand in the usual order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.json"
    old = read_json(path) if path.exists() else {"curves": []}
    # Files of before say for all curves at once which commit was measured.
    before = {each["curve"]: {"commit": old.get("commit")} | each for each in old["curves"]}
    measured = before | {each["curve"]: each for each in report["curves"]}
    report = report | {"curves": [measured[curve.name] for curve in CURVES if curve.name in measured]}
    write_json(path, report, indent=1)
    with atomic_write(folder / "table.md") as file:
        file.write(table(report).encode())
    if not draw_growth(report, folder / "growth.svg"):
        print("no plot: it needs matplotlib", file=sys.stderr)
    return report


def main(arguments: Sequence[str]) -> int:
    """Measure, print and write; return the exit status."""
    parser = argparse.ArgumentParser(prog="python benchmarks/growth.py", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="write results.json, table.md and growth.svg; other curves there stay",
    )
    parser.add_argument("--curve", metavar="TEXT", default="", help="only curves whose name contains TEXT")
    parser.add_argument("--most", type=float, default=float("inf"), metavar="N", help="leave larger sizes out")
    parser.add_argument("--seconds", type=float, default=1.0, metavar="S", help="of each size, beyond the first call")
    request = parser.parse_args(arguments)
    chosen = [curve for curve in CURVES if request.curve in curve.name and min(curve.sizes) <= request.most]
    if not chosen or request.seconds < 0:
        names = ", ".join(curve.name for curve in CURVES)
        print(f"benchmarks/growth.py: no curve is left, or --seconds is negative; curves are {names}", file=sys.stderr)
        return 2
    torch.set_num_threads(1)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    report = {
        "date": time.strftime("%Y-%m-%d"),
        "command": ["python", "benchmarks/growth.py", *arguments],
        "device": record.device_name("cpu"),
        "curves": [],
    }
    for curve in chosen:
        found = measure_curve(curve, most=request.most, seconds=request.seconds, say=say)
        report["curves"].append(found | {"commit": record.commit()})
        if request.output is not None:  # after each, so that a run that is stopped keeps what it has
            report = _written(report, request.output)
    print(table(report), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
