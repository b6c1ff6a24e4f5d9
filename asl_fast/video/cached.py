# SPDX-License-Identifier: Apache-2.0
"""Features of videos on the way to training or detection: extracted once, kept in a folder of a cache."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from asl_fast.data.features.extraction import Extraction
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.video.backbone import Backbone
from asl_fast.video.extraction import Extracted, extract_videos
from asl_fast.video.found import find_video_files
from asl_fast.video.known import is_named, open_backbone
from asl_fast.video.options import CACHE, Recipe

_SHOWN = 10


@dataclass(frozen=True)
class VideoInput:
    """Videos in place of features.

    Attributes:
        videos: Files and folders.
        cache: Folder in which features are kept, one folder inside for each way of extraction and place of videos.
        device: As of `open_backbone`.
        strict: Stop at a video that cannot be used.
    """

    videos: Sequence[Path]
    cache: Path = CACHE
    device: str = "auto"
    strict: bool = False


def extract_cached(given: VideoInput, recipe: Recipe, expected: Extraction | None = None) -> Extracted:
    """Extract the features of videos into the cache; what is there already, of the same files, stays.

    Args:
        given: The videos.
        recipe: How they become features.
        expected: How the features have to be made.

    Raises:
        FileNotFoundError, ValueError, ImportError: As `open_backbone` and `extract_videos`; when the backbone is not
            the one that is expected.
    """
    videos = find_video_files(given.videos)
    backbone = expected_backbone(recipe, given.device, expected)
    key = {**asdict(backbone.extraction), "weights": None} | {
        "window": recipe.window,
        "stride": recipe.stride,
        "rate": recipe.frame_rate,
        "videos": [str(path.resolve()) for path in given.videos],
    }
    short = hashlib.sha256(repr(sorted(key.items())).encode()).hexdigest()[:12]
    name = f"{backbone.extraction.backbone.replace(':', '-')}-{recipe.window}-{recipe.stride}-{short}"
    return extract_videos(videos, given.cache / name, backbone, recipe, strict=given.strict)


def expected_backbone(recipe: Recipe, device: str, expected: Extraction | None) -> Backbone:
    """Open the backbone of a recipe.

    Args:
        recipe: Names it.
        device: As of `open_backbone`.
        expected: How features have to be made; None takes any.

    Raises:
        FileNotFoundError, ValueError, ImportError: As `open_backbone`; when it is not the one that is expected.
    """
    backbone = open_backbone(
        recipe.backbone,
        recipe.weights,
        window=recipe.window,
        device=device,
        precision=recipe.backbone_precision,
    )
    if expected is not None and (differs := expected.difference(backbone.extraction)):
        raise ValueError(
            f"the run was trained on features made in another way than these would be: {differs}; --weights names the "
            "weights of training"
        )
    return backbone


def recipe_of(manifest: FeatureManifest, weights: Path | None) -> Recipe:
    """Return how the features of a manifest are made of videos.

    Args:
        manifest: Of features that were extracted here.
        weights: Where the backbone's weights lie now; None is where they lay then.

    Raises:
        ValueError: When the manifest does not say how its features were extracted.
    """
    how = manifest.extraction
    if how is None or manifest.stride_frame is None:
        raise ValueError(
            "the run does not say how its features were extracted from videos, as those from elsewhere do not; extract "
            "them alike and give --features"
        )
    place = weights if weights is not None else None if how.weights is None else Path(how.weights)
    known = is_named(how.backbone)
    return Recipe(
        how.backbone if known else str(place),
        place if known else None,
        int(manifest.window_frame or manifest.stride_frame),
        int(manifest.stride_frame),
        manifest.fps,
        backbone_precision="bf16" if how.precision == "bf16" else "fp32",
    )


def problem_lines(done: Extracted) -> Iterator[str]:
    """Name the videos that have no features, or not to their end, one a line."""
    kinds: tuple[tuple[str, Mapping[str, object]], ...] = (("skipped", done.skipped), ("cut at its damage", done.cut))
    for what, problems in kinds:
        for error in list(problems.values())[:_SHOWN]:
            yield f"{what}: {error}"
        if len(problems) > _SHOWN:
            yield f"{what}: {len(problems) - _SHOWN} more"
