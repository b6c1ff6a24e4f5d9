# SPDX-License-Identifier: Apache-2.0
"""``python benchmarks/loading.py``: samples per second of the loader of every preset, beside what a GPU takes of them.

Features are written for the occasion, as long and as wide as the preset's training crops, in every form that users have
(`benchmarks/jobs/bench_loader.py`). What a GPU takes is predicted: a batch in the least time of a training step, which
``python benchmarks/step_launches.py --precision fp32 --shape NAME... --json FILE`` writes. A real step takes longer, so
that a loader which keeps up with this one is never waited for.

With ``--data.cache auto`` features that fit in half of a GPU's memory lie there, and no loader runs: Python alone
crops and pads, which is measured too (of features of one channel, as their bytes are the GPU's affair).
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # started as a file: the checkout, not its folder benchmarks, holds the modules
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch

from asl_fast.files import read_json, write_json, write_text
from benchmarks import record
from benchmarks.jobs.bench_loader import MEMORY, WORKERS, epoch, forget, make_loader, settings
from benchmarks.shapes import NAMES, Shape, shape
from benchmarks.timing import measure

BATCHES = 4  # of an epoch, at least
FEWEST_VIDEOS = 8
GPU_BYTES = 80e9 / 2  # half of an H100's memory, which `auto` fills at most
TRAINING_BYTES = {  # of all training features in float32: docs/large-data.md
    "thumos14": 2.6e9,
    "multithumos": 1.3e9,
    "charades": 2.9e9,
    "ego4d-mq": 21.6e9,
    "epic100-verb": 4.6e9,
    "epic100-noun": 4.6e9,
    "activitynet13": 3.8e9,
}


def measure_preset(each: Shape, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure every setting of the loader of a preset; rates are samples per second."""
    videos = max(FEWEST_VIDEOS, BATCHES * each.batch)
    rows = []
    for form, state, workers in settings():
        rate = _rate(each, videos, form, workers, seconds, cold=state == "cold")
        rows.append({"form": form, "state": state, "workers": workers, "rate": rate})
        say(f"{each.name}, {form}, {state}, {workers} workers: {rate:,.0f} samples/s")
    narrow = replace(each.config.model, feature_dim=1, input_splits=(), projection_dims=())
    alone = replace(each, config=replace(each.config, model=narrow))
    resident = _rate(alone, videos, MEMORY, 0, seconds, trains_on="cpu")
    return {"batch": each.batch, "resident_rate": resident, "rows": rows}


def _rate(
    each: Shape, videos: int, form: str, workers: int, seconds: float, *, cold: bool = False, trains_on: str = "cuda"
) -> float:
    loader = make_loader(each, videos, form, workers, trains_on)
    batch = list(loader.epoch(0))[-1]  # so that workers have started and the checksums of a packed store are compared

    def prepare(*_: object) -> None:
        if cold:
            forget(loader)

    found = measure({"epoch": epoch}, (loader, None, batch), seconds=seconds, min_rounds=3, prepare=prepare)
    return videos / found["epoch"].median


def table(report: dict[str, Any]) -> str:
    """Put a report into Markdown: a table per preset and a sentence that says what it means."""
    lines = [
        "# Loading",
        "",
        f"`{' '.join(report['command'])}`, {report['device']}, {report['threads']} threads, {report['date']}, commit "
        f"{report['commit']}. Samples per second of a training",
        "epoch, crops as long as they get, by number of worker processes; cold: the files are dropped from the page",
        "cache before each epoch. What a GPU takes is *predicted*: batches of the preset, each in the least time that",
        "its step can take on an H100 (`python benchmarks/step_launches.py --precision fp32`). No GPU has run this.",
    ]
    for each in report["presets"]:
        lines += ["", *_preset_lines(each)]
    return "\n".join(lines) + "\n"


def _preset_lines(each: dict[str, Any]) -> list[str]:
    taken, rows = each["batch"] / each["step_sec"], each["rows"]
    head = f"## {each['preset']}: batches of {each['batch']}, a GPU takes at most {taken:,.0f} samples/s, predicted"
    columns = " | ".join(f"{workers} workers" if workers != 1 else "1 worker" for workers in WORKERS)
    lines = [head, "", f"| features | {columns} |", f"| --- | {' | '.join('---:' for _ in WORKERS)} |"]
    for form, state in dict.fromkeys((row["form"], row["state"]) for row in rows):
        rates = {row["workers"]: row["rate"] for row in rows if (row["form"], row["state"]) == (form, state)}
        name = form if form == MEMORY else f"{form}, {state}"
        lines.append(f"| {name} | {' | '.join(f'{rates[workers]:,.0f}' for workers in WORKERS)} |")
    return [*lines, "", conclusion(each)]


def conclusion(each: dict[str, Any]) -> str:
    """Say in a sentence whether training waits for the loader."""
    taken, size = each["batch"] / each["step_sec"], TRAINING_BYTES[each["preset"]]
    best = max(each["rows"], key=lambda row: row["rate"])
    most = f"{best['rate']:,.0f} samples/s ({best['form']}, {best['state']}, {best['workers']} workers)"
    if size <= GPU_BYTES and each["resident_rate"] >= taken:
        first = (
            f"Never the bottleneck with `--data.cache auto`: the {size / 1e9:.1f} GB of the training split lie on the "
            f"GPU, where Python crops and pads {each['resident_rate']:,.0f} samples/s"
        )
    elif size <= GPU_BYTES:
        first = (
            f"The {size / 1e9:.1f} GB of the training split lie on the GPU, but Python crops and pads "
            f"{each['resident_rate']:,.0f} samples/s alone: {taken / each['resident_rate']:.1f} times too slow"
        )
    else:
        first = f"The {size / 1e9:.1f} GB of the training split do not fit in half of an H100"
    if best["rate"] >= taken:
        return f"{first}; from this machine's files or memory it would not be either: {most}."
    return (
        f"{first}. From this machine's files or memory it would be: at most {most}, "
        f"{taken / best['rate']:.1f} times too slow."
    )


def main(arguments: Sequence[str]) -> int:
    """Measure, print and write; return the exit status."""
    parser = argparse.ArgumentParser(prog="python benchmarks/loading.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=Path, required=True, metavar="FILE", help="what step_launches.py --json wrote")
    parser.add_argument(
        "--preset", nargs="+", choices=NAMES, default=list(NAMES), metavar="NAME", help="those measured"
    )
    parser.add_argument(
        "--seconds", type=float, default=0.3, metavar="S", help="of each setting, beyond the first epoch"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="write results.json and table.md")
    request = parser.parse_args(arguments)
    steps = {name.partition(",")[0]: each["least_sec"] for name, each in read_json(request.steps).items()}
    missing = [name for name in request.preset if name not in steps]
    if missing:
        print(f"benchmarks/loading.py: {request.steps} has no step of {', '.join(missing)}", file=sys.stderr)
        return 2
    warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)  # more workers than cores: on purpose
    report: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "command": ["python", "benchmarks/loading.py", *arguments],
        "commit": record.commit(),
        "device": record.device_name("cpu"),
        "threads": torch.get_num_threads(),
        "presets": [],
    }
    for name in request.preset:
        found = measure_preset(shape(name), request.seconds, lambda text: print(text, file=sys.stderr, flush=True))
        report["presets"].append({"preset": name, "step_sec": steps[name], **found})
        if request.output is not None:  # after each, so that a run that is stopped keeps what it has
            request.output.mkdir(parents=True, exist_ok=True)
            write_json(request.output / "results.json", report, indent=1)
            write_text(request.output / "table.md", table(report))
    print(table(report), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
