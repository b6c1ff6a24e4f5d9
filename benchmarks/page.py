# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.page``: the page of a large run, how long it takes to write and to open.

A run folder is made up: videos, annotated actions and detections at random, as many as are asked for. It is written as
a page, and the page is opened in Chromium, without a network, some times. What is printed are medians.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from asl_fast.command_line.errors import CommandError, run_command
from asl_fast.evaluation.activitynet_json import write_detections, write_ground_truth
from asl_fast.files import write_json
from asl_fast.reporting.write import write_page
from asl_fast.training.config import TrainConfig
from asl_fast.training.run_folder import RunFolder
from asl_fast.training.serialization import to_dict
from benchmarks.chromium import NoBrowser, chromium


@dataclass(frozen=True)
class Arguments:
    """How large the run is.

    Attributes:
        videos: Videos in its test split.
        detections: Detections in each of them.
        classes: Classes.
        times: How often the page is opened.
        output: Where the page goes; nowhere in the end unless given.
    """

    videos: int = 1000
    detections: int = 200
    classes: int = 65
    times: int = 5
    output: Path | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    chosen = tyro.cli(Arguments, prog="python -m benchmarks.page", description=__doc__, args=arguments)
    return run_command(lambda: _measure(chosen))


def _measure(chosen: Arguments) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        made_up_run(Path(scratch), chosen.videos, chosen.detections, chosen.classes)
        page = chosen.output or Path(scratch) / "report.html"
        began = time.perf_counter()
        written = write_page([Path(scratch)], page)
        seconds = time.perf_counter() - began
        print(f"{chosen.videos} videos, {chosen.videos * chosen.detections:,} detections, {chosen.classes} classes")
        print(f"written in {seconds:.2f} s, {written.size / 1e6:.2f} MB")
        try:
            for name, times in opening(page, chosen.times).items():
                print(f"{name:<26}{statistics.median(times):7.0f} ms after the start of loading")
        except NoBrowser as error:
            raise CommandError(error) from error
    return 0


def opening(page: Path, times: int) -> dict[str, list[float]]:
    """Open a page in a fresh window each time; return milliseconds from the start of loading by what was there then.

    Raises:
        NoBrowser: Chromium or Playwright is not installed.
    """
    found: dict[str, list[float]] = {}
    with chromium() as browser:
        for _ in range(times):
            context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
            tab = context.new_page()
            tab.goto(page.resolve().as_uri())
            tab.wait_for_selector("html[data-ready=all][data-timeline=drawn]", state="attached", timeout=60_000)
            marks = tab.evaluate(
                "[...performance.getEntriesByType('paint'), ...performance.getEntriesByType('mark')]"
                ".map((entry) => [entry.name, entry.startTime])"
            )
            for name, at in marks:
                found.setdefault(name.removeprefix("asl_fast: "), []).append(at)
            context.close()
    return found


def made_up_run(folder: Path, videos: int, per_video: int, classes: int, seed: int = 0) -> RunFolder:
    """Write the folder of a run that never was: some ten actions per video, and detections around them and elsewhere.

    Args:
        folder: Exists.
        videos: How many.
        per_video: Detections in each.
        classes: How many.
        seed: Of what is drawn.
    """
    run = RunFolder(folder)
    rng = np.random.default_rng(seed)
    names = [f"video_test_{index:07d}" for index in range(videos)]
    labels = np.array([f"class {index}" for index in range(classes)])
    durations = rng.uniform(60, 600, videos)
    actions = rng.poisson(10, videos)
    owner = np.repeat(np.arange(videos), actions)
    begin = rng.uniform(0, 0.95, len(owner)) * durations[owner]
    truth = np.stack([begin, np.minimum(begin + rng.gamma(2, 3, len(owner)), durations[owner])], axis=1)
    truth_label = rng.integers(0, classes, len(owner))
    place = np.repeat(np.arange(videos), per_video)
    start = rng.uniform(0, 0.95, len(place)) * durations[place]
    found = np.stack([start, np.minimum(start + rng.gamma(2, 3, len(place)), durations[place])], axis=1)
    found_label, score = rng.integers(0, classes, len(place)), rng.beta(0.4, 4, len(place))
    # The first detections of each video lie on its actions.
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(actions) - actions, actions)
    near = rank < per_video
    row = owner[near] * per_video + rank[near]
    length = truth[near, 1:] - truth[near, :1]
    moved = truth[near] + rng.normal(0, 0.1, (len(row), 2)) * length
    found[row] = np.stack([moved[:, 0].clip(0), np.maximum(moved[:, 1], moved[:, 0].clip(0))], axis=1)
    found_label[row] = truth_label[near]
    score[row] = rng.beta(4, 2, len(row))
    seconds = dict(zip(names, durations.tolist(), strict=True))
    video = np.array(names)
    write_ground_truth(
        run.ground_truth,
        {"video": video[owner], "segments": truth, "labels": labels[truth_label]},
        subset="test",
        durations_sec=seconds,
    )
    write_detections(
        run.detections,
        {"video": video[place], "segments": found, "labels": labels[found_label], "scores": score},
        videos=names,
    )
    config = to_dict(TrainConfig(dataset="made up"))
    config["loss"]["class_level"] = False
    write_json(run.config, config)
    write_json(run.dataset, {"name": "made up", "class_names": labels.tolist(), "synthetic": True})
    steps = [{"kind": "step", "epoch": 0, "step": step, "total": 1 / (1 + step)} for step in range(100)]
    records = [*steps, {"kind": "epoch", "epoch": 0, "step": 99, "total": 0.05, "seconds": 1.0}]
    run.metrics.write_text("".join(json.dumps(record) + "\n" for record in records))
    return run


if __name__ == "__main__":
    sys.exit(main())
