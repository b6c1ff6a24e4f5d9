# SPDX-License-Identifier: Apache-2.0
"""What a manifest says of features that were extracted from video files: by what, and of which files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from asl_fast.files import number, read_json
from asl_fast.wording import nearest

VIDEOS_KEY = "videos"
"""Key of a manifest file below which the facts of each video stand."""


@dataclass(frozen=True)
class Extraction:
    """How frames became feature vectors; windows, strides and rates are the manifest's own.

    Args:
        backbone: Its name.
        digest: SHA-256 of its weights and of what else decides its numbers.
        preprocessing: What is done to a frame before it, in words.
        precision: What it computes in, ``"fp32"`` or ``"bf16"``.
        weights: Where the weights lay; None for a backbone without.
    """

    backbone: str
    digest: str
    preprocessing: str
    precision: str = "fp32"
    weights: str | None = None

    def difference(self, other: Extraction) -> str | None:
        """Say in what another extraction differs; None where both give the same features.

        Where the weights lie makes no difference.
        """
        for name in ("backbone", "digest", "preprocessing", "precision"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                what = "weights" if name == "digest" else name
                shown = (f"{text[:12]}..." if name == "digest" else text for text in (mine, theirs))
                return f"{what} {' and '.join(shown)}"
        return None


@dataclass(frozen=True)
class VideoFacts:
    """What extraction found out about a video file.

    Args:
        fps: Frames per second that its windows count in.
        frames: Number of frames at that rate.
        digest: SHA-256 of the file.
        size: Bytes of the file.
        modified_ns: When it was last changed; together with its size it shows that the digest still holds.
        damage: What is wrong with it, where its features were kept up to there; None for a sound one.
    """

    fps: float
    frames: int
    digest: str
    size: int
    modified_ns: int
    damage: str | None = None

    @property
    def duration_sec(self) -> float:
        """Length in seconds."""
        return self.frames / self.fps


def parse_extraction(content: object, where: str) -> Extraction:
    """Make an extraction of what JSON holds.

    Raises:
        ValueError: Beginning with ``where``, for anything else.
    """
    names = [entry.name for entry in fields(Extraction)]
    if not isinstance(content, dict):
        raise ValueError(f"{where} must hold keys and values, found {content!r:.80}")
    for key, value in content.items():
        if key not in names:
            raise ValueError(f"{where}: unknown key {key!r}; {nearest(key, names)}")
        if not isinstance(value, str) and not (key == "weights" and value is None):
            raise ValueError(f"{where}: {key!r} must be text, found {value!r:.80}")
    try:
        return Extraction(**content)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from None


def read_video_facts(path: Path) -> dict[str, VideoFacts]:
    """Read the facts of each video from a manifest file; nothing where it has none, as for features from elsewhere.

    Raises:
        ValueError: Naming file and video, for facts that are none.
    """
    if not path.is_file():
        return {}
    content = read_json(path)
    videos = content.get(VIDEOS_KEY) if isinstance(content, dict) else None
    if videos is None:
        return {}
    if not isinstance(videos, dict):
        raise ValueError(f"{path}: {VIDEOS_KEY!r} must hold videos by name, found {videos!r:.80}")
    return {name: _facts(value, f"{path}, video {name!r}") for name, value in videos.items()}


def _facts(value: object, where: str) -> VideoFacts:
    if not isinstance(value, Mapping) or not isinstance(value.get("digest"), str):
        raise ValueError(f"{where}: expected fps, frames, digest, size and modified_ns, found {value!r:.80}")
    fps, frames, size, modified = (
        number(value.get(key), f"{where}, {key}") for key in ("fps", "frames", "size", "modified_ns")
    )
    if not (fps > 0 and frames > 0):
        raise ValueError(f"{where}: fps and frames must be above 0, found {fps:g} and {frames:g}")
    damage = value.get("damage")
    if not isinstance(damage, (str, type(None))):
        raise ValueError(f"{where}: 'damage' must be text, found {damage!r:.80}")
    modified_ns = int(value["modified_ns"] if modified else 0)
    return VideoFacts(fps, int(frames), value["digest"], int(size), modified_ns, damage)


def facts_as_json(facts: Mapping[str, VideoFacts]) -> dict[str, Any]:
    """Return what `read_video_facts` reads, by video in alphabetical order."""
    return {
        name: {key: value for key, value in asdict(facts[name]).items() if value is not None} for name in sorted(facts)
    }
