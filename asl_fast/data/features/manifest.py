# SPDX-License-Identifier: Apache-2.0
"""How a feature set was extracted: what turns its indices into seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.annotations.video import Video
from asl_fast.data.features.extraction import Extraction
from asl_fast.data.grid import FeatureGrid


@dataclass(frozen=True)
class FeatureManifest:
    """Timing and width of a feature set; see `FeatureGrid` for the convention.

    Args:
        name: Name of the set.
        dim: Width of a feature vector.
        stride_frame: Frames between feature vectors; None when each video was sampled at a fixed number of places, so
            that the stride follows from its duration.
        window_frame: Frames that a feature vector sees; None means the stride.
        fps: Frames per second that stride and window count in; None means each video's own rate.
        offset_frame: Frame that index 0 stands for; None means half a window.
        resize: Interpolate every video to this many feature vectors, as is usual on ActivityNet.
        prefix: Text before the video id in file names.
        suffix: Text after it. Several joined by ``+`` are streams, to be put side by side, as with ``key``.
        layout: ``"TC"`` for arrays of (time, channels), ``"CT"`` for (channels, time); None finds out, see
            `layout.is_transposed`.
        key: Entry of files that hold several arrays; None takes the only one, or one of a usual name.
        extension: Which files to take from a folder that holds several kinds; None takes the only kind.
        extraction: What extracted them from video files; None where that is not known.

    Raises:
        ValueError: For a size that is not positive, or an unknown layout.
    """

    name: str
    dim: int
    stride_frame: float | None
    window_frame: float | None = None
    fps: float | None = None
    offset_frame: float | None = None
    resize: int | None = None
    prefix: str = ""
    # What follows says how files are read, not what the features are.
    suffix: str = field(default="", compare=False)
    layout: str | None = field(default=None, compare=False)
    key: str | None = field(default=None, compare=False)
    extension: str | None = field(default=None, compare=False)
    extraction: Extraction | None = None

    def __post_init__(self) -> None:
        if isinstance(self.extraction, Mapping):  # as a checkpoint holds it
            object.__setattr__(self, "extraction", Extraction(**self.extraction))
        for key in ("dim", "stride_frame", "window_frame", "fps", "resize"):
            value = getattr(self, key)
            if value is not None and not value > 0:
                raise ValueError(f"feature manifest {self.name!r}: {key} must be positive, got {value!r}")
        if self.layout not in (None, "TC", "CT"):
            raise ValueError(
                f"feature manifest {self.name!r}: layout must be TC (time, channels) or CT (channels, time), got "
                f"{self.layout!r}"
            )

    @property
    def transposed(self) -> bool | None:
        """Whether arrays are (channels, time); None where that is to be found out."""
        return None if self.layout is None else self.layout == "CT"

    @property
    def store_options(self) -> dict[str, Any]:
        """How files are read, as `opening.open_features` takes it."""
        names = ("prefix", "suffix", "key", "extension")
        return {name: getattr(self, name) for name in names} | {"transposed": self.transposed}

    @property
    def is_in_seconds(self) -> bool:
        """Whether stride and window are counted in seconds: one "frame" a second."""
        return self.fps == 1

    def difference(self, other: FeatureManifest) -> str | None:
        """Say in what the extraction of other features differs; None where they can stand in for these.

        Rates that differ by video differ between manifests, too: those that both fix are compared.
        """
        for name in ("stride_frame", "window_frame", "fps"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs and not (name == "fps" and None in (mine, theirs)):
                return f"{name.removesuffix('_frame')} {mine} and {theirs}"
        if self.extraction is None or other.extraction is None:
            return None
        return self.extraction.difference(other.extraction)

    def without_places(self) -> FeatureManifest:
        """Return the same without the folders in which the backbone's weights lay: of those the last name is kept."""
        if self.extraction is None or self.extraction.weights is None:
            return self
        return replace(self, extraction=replace(self.extraction, weights=Path(self.extraction.weights).name))

    def timing_words(self, usual_fps: float | None = None) -> str:
        """``stride 4, window 16, fps 30``, for messages; ``usual_fps`` stands in for rates that differ by video."""
        if self.stride_frame is None:
            return "spread evenly over each video"
        window = self.stride_frame if self.window_frame is None else self.window_frame
        if self.is_in_seconds:
            return f"one step every {self.stride_frame:.4g} s, window {window:.3g} s"
        usual = "" if usual_fps is None else f", usually {usual_fps:g}"
        fps = f"fps of each video{usual}" if self.fps is None else f"fps {self.fps:g}"
        return f"stride {self.stride_frame:g}, window {window:g}, {fps}"

    def rate(self, video: Video) -> float:
        """Frames per second in one video.

        Raises:
            ValueError: When neither manifest nor annotation gives it.
        """
        fps = self.fps if self.fps is not None else video.fps
        if fps is None:
            raise ValueError(f"video {video.id!r}: no frame rate in the annotations; set fps in manifest {self.name!r}")
        return fps

    def extracted_grid(self, video: Video, num_steps: int) -> FeatureGrid:
        """Grid of the features as they are on disk."""
        fps = self.rate(video) if self.stride_frame is not None else (self.fps or video.fps or 1.0)
        stride = self.stride_frame if self.stride_frame is not None else video.duration_sec * fps / num_steps
        window = self.window_frame if self.window_frame is not None else stride
        return FeatureGrid(fps, stride, window, self.offset_frame)

    def grid(self, video: Video, num_steps: int) -> FeatureGrid:
        """Grid of the features as `prepare` returns them, from their number on disk.

        A resized video is one whole of which each step sees an equal share: stride and window are the covered frames
        divided by the number of steps, index 0 is the middle of the first share.
        """
        grid = self.extracted_grid(video, num_steps)
        if self.resize is None or (self.stride_frame is None and num_steps == self.resize):
            return grid
        share = grid.covered_sec(num_steps) * grid.fps / self.resize
        # The first window does not begin at frame 0 when the set has an offset of its own.
        first = grid.origin_frame - grid.window_frame / 2
        return FeatureGrid(grid.fps, share, share, share / 2 + first if first else None)

    def prepare(self, video: Video, features: NDArray[np.float32]) -> tuple[NDArray[np.float32], FeatureGrid]:
        """Features as the model gets them, resized by linear interpolation where asked for, and their grid."""
        grid = self.grid(video, len(features))
        if self.resize is not None and len(features) != self.resize:
            features = resize_linear(features, self.resize)
        return features, grid

    def expected_steps(self, video: Video) -> int | None:
        """Feature vectors that a video of this duration should have on disk; None when any number fits."""
        if self.stride_frame is None:
            return None
        return self.extracted_grid(video, 1).num_steps(video.duration_sec)


def as_packed(manifest: FeatureManifest) -> FeatureManifest:
    """Return the manifest without what says how files were read: in a packed store all is (T, D), by video."""
    return replace(manifest, suffix="", layout=None, key=None, extension=None)


def resize_linear(features: NDArray[np.float32], steps: int) -> NDArray[np.float32]:
    """Interpolate (T, D) to (steps, D) with T and steps equal shares of the same time (``align_corners=False``)."""
    # Imported here because configurations name manifests, and --help reads configurations without torch.
    import torch
    from torch.nn import functional

    channels_first = torch.from_numpy(np.ascontiguousarray(features.T))[None]
    resized = functional.interpolate(channels_first, size=steps, mode="linear", align_corners=False)
    return np.ascontiguousarray(resized[0].numpy().T)


MANIFESTS: dict[str, FeatureManifest] = {
    manifest.name: manifest
    for manifest in (
        FeatureManifest("thumos14-i3d", 2048, 4, 16),
        FeatureManifest("multithumos-i3d-rgb", 1024, 4, 16),
        FeatureManifest("multithumos-i3d", 2048, 4, 16),
        FeatureManifest("charades-i3d-rgb", 1024, 8, 16, fps=24),
        FeatureManifest("charades-i3d-rgb-stride4", 1024, 4, 16, fps=24),
        FeatureManifest("epic100-slowfast", 2304, 16, 32, fps=30),
        FeatureManifest("ego4d-slowfast", 2304, 16, 32, fps=30),
        FeatureManifest("ego4d-omnivore", 1536, 16, 32, fps=30),
        FeatureManifest("ego4d-egovlp", 256, 16, 16, fps=30),
        FeatureManifest("activitynet13-tsp", 512, 16, 16, fps=15, resize=192, prefix="v_"),
        FeatureManifest("activitynet13-i3d", 2048, 16, 16, fps=25, resize=192, prefix="v_"),
    )
}
"""Feature sets in common use, with the settings that ActionFormer and OpenTAD publish for them."""


def combined_manifest(name: str) -> FeatureManifest:
    """Find the manifest of a name in ``MANIFESTS``, or of several joined by ``+`` and concatenated.

    Raises:
        ValueError: For an unknown name, or sets of different stride, frame rate or resizing.
    """
    parts = name.split("+")
    unknown = next((part for part in parts if part not in MANIFESTS), None)
    if unknown is not None:
        raise ValueError(f"unknown feature manifest {unknown!r}; known are {', '.join(MANIFESTS)}")
    first, *rest = (MANIFESTS[part] for part in parts)
    for other in rest:
        if (other.stride_frame, other.fps, other.resize) != (first.stride_frame, first.fps, first.resize):
            raise ValueError(f"features {first.name!r} and {other.name!r} differ in stride, fps or resizing")
    return replace(first, name=name, dim=first.dim + sum(other.dim for other in rest))
