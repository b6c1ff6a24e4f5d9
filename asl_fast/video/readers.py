# SPDX-License-Identifier: Apache-2.0
"""Windows of frames of many videos, decoded by several threads while a backbone computes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.features.extraction import VideoFacts
from asl_fast.files import require_file
from asl_fast.video.decode import DecoderName, Image, VideoError, open_video
from asl_fast.video.even import evenly
from asl_fast.video.model_file import file_digest
from asl_fast.video.windows import windows
from asl_fast.wording import count

T = TypeVar("T")
_LOOK_SEC = 0.1


@dataclass(frozen=True)
class Window:
    """One window of one video: prepared frames (window, ...), and the share of the video that is read by then."""

    name: str
    frames: NDArray[Any]
    share: float


@dataclass(frozen=True)
class Ended:
    """A video is read: what was found out about it, or why nothing can be made of it.

    Attributes:
        name: The video.
        facts: None where it cannot be opened.
        error: What is wrong with it, with all windows before that given.
    """

    name: str
    facts: VideoFacts | None
    error: Exception | None


@dataclass(frozen=True)
class Reading:
    """How videos are cut into windows of prepared frames.

    Attributes:
        prepare: Makes of a frame what is kept of it.
        window: Frames in a window.
        stride: Frames between windows.
        fps: Rate that videos are brought to; None leaves each its own.
        threads: Of each decoder.
        decoder: As of `open_video`.
    """

    prepare: Callable[[Image], NDArray[Any]]
    window: int
    stride: int
    fps: float | None
    threads: int = 1
    decoder: DecoderName = "pyav"

    def read(self, name: str, path: Path) -> Iterator[Window | Ended]:
        """Read one video: its windows, then how it ended."""
        facts: VideoFacts | None = None
        try:
            require_file(path)
            status, digest = path.stat(), ""
            number = 0
            with open_video(path, threads=self.threads, decoder=self.decoder) as video:
                # After the file has shown itself to be one that can be read.
                digest = file_digest(path)
                fps = self.fps or video.fps

                def prepared() -> Iterator[NDArray[Any]]:
                    nonlocal number
                    for image in evenly(video.frames(), fps):
                        number += 1
                        yield self.prepare(image)

                expected = video.promised_sec
                try:
                    for frames in windows(prepared(), self.window, self.stride):
                        yield Window(name, np.stack(frames), min(1.0, number / fps / expected) if expected else 0.0)
                finally:
                    if number:
                        facts = VideoFacts(fps, number, digest, status.st_size, status.st_mtime_ns)
            if number < self.window:
                shown = count(number, "frame")
                raise VideoError(str(path), f"has {shown}, fewer than a window of {self.window} (--window)")
            yield Ended(name, facts, None)
        except (ValueError, OSError) as error:
            yield Ended(name, facts, error)


def read_all(reading: Reading, videos: Sequence[tuple[str, Path]], readers: int) -> Iterator[Window | Ended]:
    """Read many videos, several at a time; those of one video come in order.

    Args:
        reading: How.
        videos: Names and files.
        readers: Videos that are read at a time.
    """
    jobs: queue.SimpleQueue[tuple[str, Path]] = queue.SimpleQueue()
    for job in videos:
        jobs.put(job)

    def work(give: Callable[[Window | Ended], None]) -> None:
        while True:
            try:
                name, path = jobs.get_nowait()
            except queue.Empty:
                return
            for item in reading.read(name, path):
                give(item)

    yield from _Threads(work, min(readers, len(videos)), 4 * readers).items()


class _Threads(Generic[T]):
    """Threads that give items, of which only so many wait to be taken; they end when nobody takes any more."""

    def __init__(self, work: Callable[[Callable[[T], None]], None], number: int, waiting: int) -> None:
        self._work = work
        self._number = number
        self._queue: queue.Queue[T | BaseException | None] = queue.Queue(waiting)
        self._stopped = threading.Event()

    def items(self) -> Iterator[T]:
        threads = [threading.Thread(target=self._run, daemon=True) for _ in range(self._number)]
        for thread in threads:
            thread.start()
        running = self._number
        try:
            while running:
                item = self._queue.get()
                if item is None:
                    running -= 1
                elif isinstance(item, BaseException):
                    raise item
                else:
                    yield item
        finally:
            self._stopped.set()
            for thread in threads:
                thread.join()

    def _run(self) -> None:
        try:
            self._work(self._give)
        except _Stopped:
            pass
        except BaseException as error:  # a defect, which is raised where items are taken
            self._put(error)
        self._put(None)

    def _give(self, item: T) -> None:
        if not self._put(item):
            raise _Stopped

    def _put(self, item: T | BaseException | None) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=_LOOK_SEC)
                return True
            except queue.Full:
                continue
        return False


class _Stopped(Exception):
    """Nobody takes items any more."""
