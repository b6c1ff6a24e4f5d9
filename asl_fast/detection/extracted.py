# SPDX-License-Identifier: Apache-2.0
"""Recordings that are videos, or features that were extracted from videos: made the way that the run's own were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from asl_fast.data.features.extraction import VideoFacts, read_video_facts
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.features.manifest_file import MANIFEST_NAME, read_manifest
from asl_fast.data.features.packed_store import PackedFeatureStore, is_packed
from asl_fast.detection.rates import Rates
from asl_fast.detection.recordings import Recordings, open_recordings
from asl_fast.video.cached import VideoInput, extract_cached, recipe_of
from asl_fast.video.extraction import Extracted


def facts_beside(paths: Sequence[Path], dataset: Mapping[str, Any]) -> tuple[dict[str, VideoFacts], list[str]]:
    """Read what is known of the videos of features, and check that these were made like those of the run.

    Args:
        paths: Feature folders or files.
        dataset: What the run knows of its data set.

    Returns:
        Facts by name, none for features without a manifest that has them; and what could not be checked, in words.

    Raises:
        ValueError: Naming the manifest, and in what the extraction differs.
    """
    trained = None if dataset["manifest"] is None else FeatureManifest(**dataset["manifest"])
    found: dict[str, VideoFacts] = {}
    notes: list[str] = []
    for path in paths:
        file = (path if path.is_dir() else path.parent) / MANIFEST_NAME
        found |= read_video_facts(file)
        if trained is None or trained.extraction is None:
            continue
        file, manifest = _manifest_of(path, file, trained.dim)
        if manifest is None or manifest.extraction is None:
            notes.append(
                f"{path}: nothing says how these features were made; those of the run were made by "
                f"{trained.extraction.backbone}, {trained.timing_words()}, and others give other actions; extract puts "
                f"a {MANIFEST_NAME} beside them"
            )
        elif (differs := trained.difference(manifest)) is not None:
            raise ValueError(
                f"{file}: these features were made in another way than those of the run: {differs}; extract them alike"
            )
    return found, notes


def _manifest_of(path: Path, beside: Path, dim: int) -> tuple[Path, FeatureManifest | None]:
    """Read the manifest of features, and where it stands; None where they have none."""
    if path.is_dir() and is_packed(path):
        return path, PackedFeatureStore(path).manifest
    return beside, read_manifest(beside, dim) if beside.is_file() else None


def open_videos(given: VideoInput, weights: Path | None, dataset: Mapping[str, Any]) -> tuple[Recordings, Extracted]:
    """Extract the features of videos as those of the run were, and open them.

    Args:
        given: The videos.
        weights: Where the backbone's weights lie now; None is where they lay in training.
        dataset: What the run knows of its data set.

    Returns:
        The recordings, and what came of extraction.

    Raises:
        FileNotFoundError, ValueError, ImportError: As `extract_cached`; when the run does not say how its features were
            made.
    """
    manifest = None if dataset["manifest"] is None else FeatureManifest(**dataset["manifest"])
    if manifest is None:
        raise ValueError("--videos: the run was not trained on features of videos")
    done = extract_cached(given, recipe_of(manifest, weights), manifest.extraction)
    opened = open_recordings((done.folder,), dataset, **times(done.facts))
    # The folder may hold videos of an earlier call that are there no more.
    return replace(opened, names=tuple(name for name in opened.names if name in done.facts)), done


def times(facts: Mapping[str, VideoFacts], fps: Rates | None = None) -> dict[str, Any]:
    """Return rates and lengths as `open_recordings` takes them; a rate that is given goes before."""
    if fps is None and facts:
        fps = {name: each.fps for name, each in facts.items()}
    return {"fps": fps, "durations_sec": {name: each.duration_sec for name, each in facts.items()} or None}
