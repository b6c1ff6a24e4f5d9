# SPDX-License-Identifier: Apache-2.0
"""From video files to a folder of features: decoded side by side, computed in batches across videos, resumable."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from asl_fast.data.features.extraction import VideoFacts
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.features.store import check_features
from asl_fast.environment import usable_cores
from asl_fast.video.backbone import Backbone
from asl_fast.video.decode import VideoError
from asl_fast.video.feature_folder import FeatureFolder, folder_lock
from asl_fast.video.options import Recipe
from asl_fast.video.readers import Ended, Reading, Window, read_all

MAX_READERS = 4
LONGEST_NAME = 220
"""Bytes of a name that leave room for an ending, and for the name of a file that is not yet complete, of 255."""


@dataclass(frozen=True)
class Extracted:
    """What came of it.

    Attributes:
        folder: Where the features lie.
        facts: Of the videos that have features now, of those that were asked for.
        computed: How many of them were computed now; the others were there.
        cut: Videos whose features end before damage, with what is wrong, whenever they were computed.
        skipped: Videos without features, with what is wrong.
    """

    folder: Path
    facts: dict[str, VideoFacts]
    computed: int
    cut: dict[str, str]
    skipped: dict[str, Exception]


@dataclass
class _Video:
    """A video that is being read."""

    vectors: list[NDArray[np.float32]] = field(default_factory=list)
    waiting: int = 0
    ended: Ended | None = None
    share: float = 0.0


def manifest_of(backbone: Backbone, recipe: Recipe) -> FeatureManifest:
    """Describe the features that a backbone makes by a recipe."""
    return FeatureManifest(
        f"{backbone.extraction.backbone}-{recipe.window}-{recipe.stride}",
        backbone.dim,
        float(recipe.stride),
        float(recipe.window),
        recipe.frame_rate,
        layout="TC",
        extension=".npy",
        extraction=backbone.extraction,
    )


def extract_videos(
    videos: Mapping[str, Path],
    output: Path,
    backbone: Backbone,
    recipe: Recipe,
    *,
    batch_size: int = 8,
    readers: int = 0,
    cores: int | None = None,
    keep_damaged: bool = False,
    strict: bool = False,
    all_may_fail: bool = False,
) -> Extracted:
    """Extract the features of videos into a folder; those that are there already, of the same content, stay.

    Args:
        videos: Files by name.
        output: The folder.
        backbone: What makes a feature vector of a window.
        recipe: Window, stride and rate.
        batch_size: Windows of one or several videos that the backbone gets at a time; it changes no bit of them.
        readers: Videos that are decoded at a time; 0 is one for each core, up to 4.
        cores: Processor cores that decoding may take; None is all that this process has.
        keep_damaged: Keep the features before the damage of a damaged video; otherwise it is skipped.
        strict: Stop at the first video that cannot be used.
        all_may_fail: Return also where no video can be used, instead of raising what is wrong with the first.

    Raises:
        ValueError, OSError: As `FeatureFolder`; naming the first video that cannot be used, if strict or if none can,
            unless all may fail.
    """
    recipe.check()
    if batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1, found {batch_size}")
    with folder_lock(output):
        folder = FeatureFolder(output, manifest_of(backbone, recipe))
        missing = [(name, path) for name, path in videos.items() if not folder.is_done(name, path)]
        work = _Work(folder, backbone, dict(missing), keep_damaged, strict)
        missing = work.without_long_names(missing)
        cores = cores or usable_cores()
        number = readers or min(MAX_READERS, cores)
        threads = max(1, cores // number)
        reading = Reading(backbone.prepare, recipe.window, recipe.stride, recipe.frame_rate, threads, recipe.decoder)
        try:
            with work.bar:
                for item in read_all(reading, missing, number) if missing else ():
                    work.take(item, batch_size)
                work.compute()
        finally:
            if folder.facts() or missing:
                folder.write_manifest()
    facts = {name: each for name, each in folder.facts().items() if name in videos}
    if work.skipped and not facts and not all_may_fail:
        raise next(iter(work.skipped.values()))
    # What was kept with its damage by an earlier call is told by each that uses it.
    cut = {name: each.damage for name, each in facts.items() if each.damage is not None}
    return Extracted(output, facts, work.computed, cut, work.skipped)


class _Work:
    """The windows that wait for the backbone, and the videos that wait for their last window."""

    def __init__(
        self, folder: FeatureFolder, backbone: Backbone, files: dict[str, Path], keep_damaged: bool, strict: bool
    ) -> None:
        self._folder, self._backbone, self._files = folder, backbone, files
        self._keep_damaged, self._strict = keep_damaged, strict
        self._videos: dict[str, _Video] = {}
        self._batch: list[Window] = []
        self._sizes = {name: path.stat().st_size if path.is_file() else 0 for name, path in files.items()}
        self.computed = 0
        self.skipped: dict[str, Exception] = {}
        # Sizes tell most about the time that is left, of what is known before a video is read.
        self.bar: tqdm[Any] = tqdm(
            total=sum(self._sizes.values()), desc="extracting", unit="B", unit_scale=True, leave=False, disable=None
        )

    def without_long_names(self, videos: list[tuple[str, Path]]) -> list[tuple[str, Path]]:
        """Skip videos whose features no file system would take under their names."""
        kept = []
        for name, path in videos:
            if max(len(os.fsencode(part)) for part in PurePath(name).parts) <= LONGEST_NAME:
                kept.append((name, path))
                continue
            error = ValueError(f"{path}: a name of over {LONGEST_NAME} bytes is too long for its features; rename it")
            if self._strict:
                raise error
            self.skipped[name] = error
        return kept

    def take(self, item: Window | Ended, batch_size: int) -> None:
        video = self._videos.setdefault(item.name, _Video())
        if isinstance(item, Window):
            self._batch.append(item)
            video.waiting += 1
            self._advance(item.name, item.share)
            if len(self._batch) >= batch_size:
                self.compute()
        else:
            video.ended = item
            if not video.waiting:
                self._finish(item.name)

    def compute(self) -> None:
        """Compute what waits, and finish the videos of which nothing waits any more."""
        if not self._batch:
            return
        batch, self._batch = self._batch, []
        vectors = self._backbone.features(np.stack([each.frames for each in batch]))
        for each, vector in zip(batch, vectors, strict=True):
            video = self._videos[each.name]
            video.vectors.append(vector)
            video.waiting -= 1
        for name in dict.fromkeys(each.name for each in batch):
            if self._videos[name].ended is not None and not self._videos[name].waiting:
                self._finish(name)

    def _finish(self, name: str) -> None:
        video = self._videos.pop(name)
        ended = video.ended
        assert ended is not None
        self._sizes_left(name, video)
        damaged = isinstance(ended.error, VideoError) and self._keep_damaged and bool(video.vectors)
        if ended.error is not None and not damaged:
            self._skip(name, ended.error)
            return
        assert ended.facts is not None
        features = np.stack(video.vectors)
        try:
            check_features(features, self._backbone.dim, str(self._files[name]))
        except ValueError as error:
            self._skip(name, error)
            return
        damage = None if ended.error is None else str(ended.error)
        self._folder.add(name, features, replace(ended.facts, damage=damage))
        self.computed += 1

    def _skip(self, name: str, error: Exception) -> None:
        self._folder.remove(name)
        if self._strict:
            raise error
        self.skipped[name] = error

    def _advance(self, name: str, share: float) -> None:
        video = self._videos[name]
        if share > video.share:
            self.bar.update(int(share * self._sizes[name]) - int(video.share * self._sizes[name]))
            video.share = share

    def _sizes_left(self, name: str, video: _Video) -> None:
        self.bar.update(self._sizes[name] - int(video.share * self._sizes[name]))
