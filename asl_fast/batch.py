# SPDX-License-Identifier: Apache-2.0
"""Find actions in a corpus of videos, on one machine or a cluster.

Ray hands videos out to workers, each with the run's backbone and detector; the table in Parquet has each video once.
Stopped, the same command goes on, and only new and changed videos are done. On a cluster, run, videos and output lie
where every machine sees them under one path.

Exit status: 0 all videos were used, 1 some failed, as their rows say, 2 the call was refused.

Examples:
    python -m asl_fast.batch --input 'videos/**' --run runs/mine-001 --output actions.parquet
    python -m asl_fast.batch --input /data/videos --run /data/run --output /data/a.parquet --address ray://head:10001
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from asl_fast.command_line.errors import if_stopped, run_command
from asl_fast.command_line.options import read_options
from asl_fast.command_line.outputs import check_output
from asl_fast.command_line.post_processing import PostProcessing
from asl_fast.wording import count, printable

if TYPE_CHECKING:
    from asl_fast.corpus.corpus_videos import CorpusVideo
    from asl_fast.corpus.parts import Parts
    from asl_fast.corpus.worker import Job


@dataclass(frozen=True)
class Arguments:
    """Which corpus, which detector, and who does the work.

    Attributes:
        input: Video files, folders, and patterns in quotes, where ** stands for any number of folders.
        run: Run folder of the training, a checkpoint file, or a folder that export wrote; trained on features of
            videos.
        output: The table, in Parquet, a row for each detection: video, label, start_sec, end_sec, score, status, error,
            duration_sec, fps, path. A video without detections, and one that failed, has one row without label. What
            is done lies in OUTPUT.parts meanwhile and stays there for later calls.
        address: Of a cluster that runs, as auto, HOST:PORT or ray://HOST:PORT; this machine alone unless given.
        workers: How many; one for each GPU, or for each core where there is none, unless given.
        block: Videos that a worker is given at a time.
        batch_size: Windows that the backbone gets at a time; it changes no bit of a feature.
        device: "auto", "cpu" or "cuda"; "auto" takes GPUs where there are some.
        weights: Where the backbone's weights lie now; where they lay in training unless given.
        checkpoint: Which checkpoint of the run folder: of the last epoch, or of the one that scored best.
        keep_damaged: Find what is before the damage of a damaged video, whose rows then say "cut".
        retry_failed: Try again the videos that failed in an earlier call, though their files are the same.
        post_processing: What is done otherwise than in training.
    """

    input: tuple[str, ...]
    run: Path
    output: Path
    address: str | None = None
    workers: int | None = None
    block: int = 4
    batch_size: int = 8
    device: Literal["auto", "cpu", "cuda"] = "auto"
    weights: Path | None = None
    checkpoint: Literal["last", "best"] = "last"
    keep_damaged: bool = False
    retry_failed: bool = False
    post_processing: Annotated[PostProcessing, tyro.conf.arg(name="")] = field(default_factory=PostProcessing)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status, 1 where videos failed."""
    return run_command(lambda: _batch(read_options(Arguments, "batch", __doc__, arguments)))


def _batch(chosen: Arguments) -> int:
    for name, value in (("workers", chosen.workers), ("block", chosen.block), ("batch-size", chosen.batch_size)):
        if value is not None and not 1 <= value <= 4096:
            raise ValueError(f"--{name} must lie between 1 and 4096, found {value}")
    check_output("--output", chosen.output, (chosen.run, chosen.weights))
    with if_stopped(f"what is done is kept in {chosen.output}.parts, the same command goes on from there"):
        # All that can be refused is, before anything is started.
        from asl_fast.corpus.corpus_videos import find_corpus

        videos = find_corpus(chosen.input)
        _require_packages()
        from asl_fast.corpus.parts import FAILED, Parts
        from asl_fast.corpus.worker import Job, Worker

        job = Job(
            run=str(chosen.run.absolute()),
            output=str(chosen.output.absolute()),
            checkpoint=chosen.checkpoint,
            weights=None if chosen.weights is None else _everywhere(chosen.weights),
            changes=chosen.post_processing.changes(),
            keep_damaged=chosen.keep_damaged,
            batch_size=chosen.batch_size,
        )
        identity = Worker(job).identity
        parts = Parts(Path(job.output))
        parts.claim(identity)
        missing = []
        for video in videos:
            status = parts.status(video)
            if status is None or (status == FAILED and chosen.retry_failed):
                parts.forget(video)
                missing.append(video)
        began = time.monotonic()
        seconds = _work(chosen, job, missing) if missing else 0.0
        took = time.monotonic() - began
        return _finish(parts, videos, len(missing), seconds, took)


def _everywhere(weights: Path) -> str:
    """Return what names weights on every machine: their path, or what is no path but an id."""
    return str(weights.absolute() if weights.exists() else weights)


def _require_packages() -> None:
    """Make sure that Ray and Arrow are there, without loading either.

    Raises:
        ImportError: Saying what to install.
    """
    if find_spec("ray") is None or find_spec("pyarrow") is None:
        raise ImportError("detection in a corpus needs Ray and Arrow: pip install 'asl-fast[ray]'")


def _work(chosen: Arguments, job: Job, missing: list[CorpusVideo]) -> float:
    """Have the work done; return the seconds of video that it was."""
    from tqdm import tqdm

    from asl_fast.corpus.cluster import started, work_on

    seconds = 0.0
    with started(chosen.address), tqdm(total=len(missing), unit="video", desc="detecting", disable=None) as bar:
        for row in work_on(missing, job, block=chosen.block, workers=chosen.workers, device=chosen.device):
            seconds += float(row["seconds"])
            bar.update()
    return seconds


def _finish(parts: Parts, videos: list[CorpusVideo], done: int, seconds: float, took: float) -> int:
    """Write the table, and say what is in it."""
    from asl_fast.corpus.parts import FAILED

    table = parts.merge(videos)
    for problem in table.problems:
        print(printable(problem), file=sys.stderr)
    print(
        f"{parts.output}: {count(table.detections, 'detection')} in {count(len(videos), 'video')}, "
        f"{len(videos) - done} of them done before"
    )
    if done and took > 0:
        print(f"{seconds:.0f} s of video in {took:.1f} s, {seconds / took:.1f} times as fast as it plays")
    failed = table.statuses.get(FAILED, 0)
    if failed:
        again = "--retry-failed tries again, as does a changed file"
        print(f"warning: {count(failed, 'video')} failed, as the table says; {again}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
