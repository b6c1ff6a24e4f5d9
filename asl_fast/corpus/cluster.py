# SPDX-License-Identifier: Apache-2.0
"""Workers on one machine or many, by Ray Data: it hands out blocks of videos, and those of a dead worker to another."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from asl_fast.corpus.corpus_videos import CorpusVideo
from asl_fast.corpus.worker import Job, Worker

_MOST_CORES = 16
"""Cores that the decoders of one GPU are given; each decodes a video with some of them."""
_REACH_SEC = 10.0


@contextmanager
def started(address: str | None) -> Iterator[None]:
    """Join a cluster, or start one of this machine alone that ends with this process.

    Args:
        address: Of the cluster, as of ``ray.init``; None starts one.

    Raises:
        ConnectionError: When there is no cluster at the address.
    """
    # What is done here is nobody else's matter; what a user has to know of a failure comes as an error.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if address is not None:
        _check_reachable(address)
    import ray

    given: dict[str, Any] = (
        {"address": "local", "include_dashboard": False} if address is None else {"address": address}
    )
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **given)
    except (ConnectionError, ValueError, RuntimeError) as error:
        first = next(iter(str(error).splitlines()), "")
        what = "Ray cannot be started here" if address is None else f"--address {address}: no cluster of Ray is there"
        raise ConnectionError(f"{what} ({first})") from None
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Ask whether anybody listens at HOST:PORT, for whom Ray would wait for minutes.

    Raises:
        ConnectionError: When nobody does.
    """
    host, mark, port = address.removeprefix("ray://").rpartition(":")
    if not mark or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_SEC).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise ConnectionError(f"--address {address}: no cluster of Ray is there ({error})") from None


def work_on(
    videos: Sequence[CorpusVideo], job: Job, *, block: int, workers: int | None, device: str
) -> Iterator[dict[str, Any]]:
    """Have all videos done by workers of the cluster that was joined.

    Args:
        videos: Those that are not done yet.
        job: What is done with each.
        block: Videos that a worker is given at a time.
        workers: How many; None is one for each GPU, or for each core where there is none.
        device: "auto", "cpu" or "cuda".

    Yields:
        ``name`` and ``status`` of each video when its part is written, and its ``seconds``.

    Raises:
        OSError, ValueError, ImportError: Of a worker that cannot go on.
    """
    import ray
    import ray.data
    from ray.exceptions import RayTaskError

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    blocks = [list(videos[start : start + block]) for start in range(0, len(videos), block)]
    number, gpus, cores = _resources(ray.cluster_resources(), len(blocks), workers, device)
    rows = [{"videos": [asdict(video) for video in each]} for each in blocks]
    done = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        _Actor,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=number),
        num_gpus=gpus,
        num_cpus=cores,
        fn_constructor_kwargs={"job": job, "device": "cuda" if gpus else "cpu", "cores": cores},
    )
    try:
        yield from done.iter_rows()
    except RayTaskError as error:
        # The error of the worker, which says what is wrong, without the way that it came.
        cause: BaseException = error
        while isinstance(cause, RayTaskError) and isinstance(cause.cause, BaseException):
            cause = cause.cause
        raise cause from None


def _resources(there: dict[str, float], blocks: int, workers: int | None, device: str) -> tuple[int, int, int]:
    """Return how many workers there are, and the GPUs and cores of each."""
    gpus = 0 if device == "cpu" else int(there.get("GPU", 0))
    cores = max(1, int(there.get("CPU", 1)))
    if device == "cuda" and not gpus:
        raise ValueError("--device cuda: the cluster has no GPU")
    number = min(workers or gpus or cores, blocks)
    if gpus:
        number = min(number, gpus)
        return number, 1, min(_MOST_CORES, max(1, cores // gpus))
    return number, 0, max(1, cores // number) if workers else 1


class _Actor:
    """A `Worker` as Ray Data calls it: a table of blocks in, a table of what became of videos out."""

    def __init__(self, job: Job, device: str, cores: int) -> None:
        import torch

        if device == "cpu":
            torch.set_num_threads(cores)
        self._worker = Worker(job, device, cores)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Do the videos of the blocks; who was done by a worker that died since is not told again."""
        videos = [CorpusVideo(**video) for block in batch["videos"] for video in block]
        outcomes = self._worker.work(videos)
        return {
            "name": [each.video.name for each in outcomes],
            "status": [each.status for each in outcomes],
            "seconds": [0.0 if each.found is None else each.found.duration_sec for each in outcomes],
        }
