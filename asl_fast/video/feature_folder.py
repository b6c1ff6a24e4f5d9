# SPDX-License-Identifier: Apache-2.0
"""The folder that extraction writes: ``NAME.npy`` of each video, and ``manifest.json`` with what was done.

A video is done when its features lie there and the manifest has its facts. The manifest is written every few seconds,
so that a process that is killed loses no more than these.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.features.array_files import read_shape
from asl_fast.data.features.extraction import VideoFacts, read_video_facts
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.features.manifest_file import MANIFEST_NAME, read_manifest, write_manifest
from asl_fast.files import atomic_write
from asl_fast.video.model_file import file_digest
from asl_fast.video.windows import count_windows

try:
    import fcntl
except ImportError:  # not on Windows, where two processes of one folder may do the same work twice
    fcntl = None  # type: ignore[assignment]

_WRITE_EVERY_SEC = 3.0


class FeatureFolder:
    """Features of videos, extracted one way.

    Args:
        path: The folder; it is made where it is not there.
        manifest: How features are extracted.

    Raises:
        ValueError: When the folder holds features that were made another way, or is no folder.
    """

    def __init__(self, path: Path, manifest: FeatureManifest) -> None:
        self.path = path
        self.manifest = manifest
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(f"--output {path} is a file; name a folder")
        if (path / "checkpoints").is_dir():
            raise ValueError(f"--output {path} is a run folder; name another")
        path.mkdir(parents=True, exist_ok=True)
        self._file = path / MANIFEST_NAME
        self._facts = read_video_facts(self._file)
        self._written_at = time.monotonic()
        self._check_same_way()

    def _check_same_way(self) -> None:
        if not self._file.is_file():
            if any(self.path.glob("*.npy")):
                raise ValueError(f"--output {self.path} holds features from elsewhere; name another folder")
            return
        held = read_manifest(self._file, self.manifest.dim)
        differs = self.manifest.difference(held)
        if differs is None and held.fps != self.manifest.fps:
            differs = f"frame rates {self.manifest.fps} and {held.fps}"
        if held.extraction is None or differs is not None:
            why = f"in another way ({differs})" if differs else "elsewhere"
            raise ValueError(f"--output {self.path} holds features that were made {why}; name another folder")

    def facts(self) -> Mapping[str, VideoFacts]:
        """Return the facts of the videos that are done."""
        return dict(self._facts)

    def feature_path(self, name: str) -> Path:
        """Return the file of a video's features; names may contain folders."""
        return self.path / f"{name}.npy"

    def is_done(self, name: str, video: Path) -> bool:
        """Tell whether the features of just this file are there: by size and date, or by its content."""
        facts = self._facts.get(name)
        if facts is None or not self._holds(name, facts) or not video.is_file():
            return False
        status = video.stat()
        if status.st_size != facts.size:
            return False
        if status.st_mtime_ns == facts.modified_ns:
            return True
        if file_digest(video) != facts.digest:
            return False
        self._facts[name] = dataclasses.replace(facts, modified_ns=status.st_mtime_ns)
        return True

    def _holds(self, name: str, facts: VideoFacts) -> bool:
        stride, window = self.manifest.stride_frame, self.manifest.window_frame
        assert stride is not None and window is not None
        expected = (count_windows(facts.frames, int(window), int(stride)), self.manifest.dim)
        try:
            return read_shape(self.feature_path(name)) == expected
        except (OSError, ValueError):
            return False

    def add(self, name: str, features: NDArray[np.float32], facts: VideoFacts) -> None:
        """Write the features of a video.

        Raises:
            OSError: Naming the file that cannot be written.
        """
        path = self.feature_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            # numpy.save would hide why a disk takes no more.
            header = np.lib.format.header_data_from_array_1_0(features)
            np.lib.format.write_array_header_1_0(file, header)
            file.write(np.ascontiguousarray(features).data)
        self._facts[name] = facts
        if time.monotonic() - self._written_at > _WRITE_EVERY_SEC:
            self.write_manifest()

    def remove(self, name: str) -> None:
        """Take out what was there of a video that cannot be used any more."""
        self._facts.pop(name, None)
        self.feature_path(name).unlink(missing_ok=True)

    def write_manifest(self) -> None:
        """Write what was done so far."""
        write_manifest(self._file, self.manifest, self._facts)
        self._written_at = time.monotonic()


@contextmanager
def folder_lock(path: Path) -> Iterator[None]:
    """Wait until no other process extracts into a folder, and keep others waiting until this one has done."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    # Beside the folder and never removed: who removed it would let a third process in.
    descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
