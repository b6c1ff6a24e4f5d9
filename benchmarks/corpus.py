# SPDX-License-Identifier: Apache-2.0
"""How fast each stage of detection in videos is alone, and which one bounds the whole: decoding, backbone, detector.

    python -m benchmarks.corpus --input 'videos/**' --run runs/mine-001

A stage's speed is in seconds of video per second. The first three are measured one after the other on one thread of
decoding, the last is a worker as ``asl_fast.batch`` runs it, where decoding goes on while the backbone computes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from asl_fast.corpus.corpus_videos import CorpusVideo, find_corpus
from asl_fast.corpus.worker import Job, Worker
from asl_fast.detection.extracted import times
from asl_fast.detection.recordings import open_recordings
from asl_fast.detection.run import detect_recordings
from asl_fast.environment import describe, usable_cores
from asl_fast.files import write_json
from asl_fast.video.extraction import extract_videos
from asl_fast.video.readers import Reading, Window
from benchmarks.record import commit

T = TypeVar("T")
STAGES = ("decoding", "backbone", "detector")


def now() -> tuple[float, float]:
    """Return the time, and the processor's time of all threads of this process."""
    return time.perf_counter(), time.process_time()


class Stopwatch:
    """Seconds by name, and of these the processor's, which no other program on the machine lengthens."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.processor: dict[str, float] = {}

    def add(self, name: str, began: tuple[float, float]) -> None:
        """Add the time since ``began``, which `now` gave."""
        for held, before, after in zip((self.seconds, self.processor), began, now(), strict=True):
            held[name] = held.get(name, 0.0) + after - before

    def each(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """Pass items on, and add the time that it takes to get each."""
        waiting = iter(items)
        while True:
            began = now()
            try:
                item = next(waiting)
            except StopIteration:
                return
            finally:
                self.add(name, began)
            yield item


def measure(worker: Worker, videos: list[CorpusVideo]) -> tuple[Stopwatch, float]:
    """Measure the stages and the whole.

    Returns:
        What each took, and the seconds of video.

    Raises:
        SystemExit: When a video cannot be used, whose time would count for nothing.
    """
    watch, recipe, backbone = Stopwatch(), worker.recipe, worker.backbone
    worker.outcomes(videos[:1])  # what is done once is no part of it
    reading = Reading(backbone.prepare, recipe.window, recipe.stride, recipe.frame_rate, threads=1)
    for video in videos:
        batch: list[Any] = []
        for item in watch.each(STAGES[0], reading.read(video.name, Path(video.path))):
            if isinstance(item, Window):
                batch.append(item.frames)
            if batch and (len(batch) == worker.job.batch_size or not isinstance(item, Window)):
                began = now()
                backbone.features(np.stack(batch))
                watch.add(STAGES[1], began)
                batch = []
    with tempfile.TemporaryDirectory() as place:
        files = {f"video{number:06d}": Path(video.path) for number, video in enumerate(videos)}
        done = extract_videos(files, Path(place, "features"), backbone, recipe, strict=True)
        opened = open_recordings((done.folder,), worker.trained.dataset, **times(done.facts))
        began = now()
        detect_recordings(worker.trained, opened, batch_size=1, strict=True)
        watch.add(STAGES[2], began)
        video_sec = sum(each.duration_sec for each in done.facts.values())
    began = now()
    worker.outcomes(videos)
    watch.add("all, as a worker", began)
    return watch, video_sec


def table(seconds: dict[str, float], video_sec: float, cores: int, processor: dict[str, float]) -> list[str]:
    """Write the table, and say what bounds the whole."""
    lines = [f"{'stage':<20}{'seconds':>10}{'processor':>12}{'times as fast as it plays':>28}"]
    lines += [
        f"{name:<20}{took:>10.3f}{processor[name]:>12.3f}{video_sec / took:>28.1f}" for name, took in seconds.items()
    ]
    slowest = max(STAGES, key=lambda name: seconds[name])
    whole = seconds[slowest] / seconds["all, as a worker"]
    lines.append(
        f"{slowest} bounds it: a worker with {cores} cores reaches {whole:.0%} of the speed of {slowest} alone"
    )
    if slowest == STAGES[0]:
        rest = seconds[STAGES[1]] + seconds[STAGES[2]]
        lines.append(
            f"decoding takes {seconds[STAGES[0]] / rest:.1f} times as long as the rest: more cores per worker help"
        )
    return lines


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", nargs="+", required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cores", type=int, default=usable_cores())
    parser.add_argument("--json", type=Path, help="write what was measured, and on what")
    given = parser.parse_args()
    torch.set_num_threads(given.cores)
    worker = Worker(Job(given.run, "none.parquet", weights=given.weights), given.device, given.cores)
    videos = find_corpus(given.input)
    watch, video_sec = measure(worker, videos)
    print("\n".join(table(watch.seconds, video_sec, given.cores, watch.processor)))
    if given.json is not None:
        measured = {
            "date": time.strftime("%Y-%m-%d"),
            "commit": commit(),
            "cores": given.cores,
            "videos": len(videos),
            "video_sec": video_sec,
            "backbone": worker.backbone.extraction.backbone,
            "window_frame": worker.recipe.window,
            "stride_frame": worker.recipe.stride,
            "seconds": watch.seconds,
            "processor_sec": watch.processor,
            "environment": describe(),
        }
        write_json(given.json, measured, indent=1)


if __name__ == "__main__":
    main()
