# SPDX-License-Identifier: Apache-2.0
"""Stride and window of features, from their lengths and the durations of their videos.

An extractor that steps ``stride`` frames with whole windows writes ``floor((frames - window) / stride) + 1`` vectors.
So the frames grow by one stride per vector, and ``window - stride`` remains, with half a stride that rounding down
leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.annotations.video import Video
from asl_fast.data.custom.decision import Decision
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.features.timing_check import check_timing, in_words, is_fixed_number
from asl_fast.wording import count, examples

Array = NDArray[np.float64]

_ALIKE = 0.15
_MIN_VIDEOS = 6
_MIN_RUN_STEPS = 1000.0
_FAR_STEPS = 10.0
_LONGEST_WINDOW_STRIDES = 16


class _Fit(NamedTuple):
    """``length = stride * steps + rest``; ``rest`` is None where there is too little to tell it from 0.

    ``spread`` is the mean distance from that in steps, over all videos; those far off count as ``_FAR_STEPS``.
    """

    stride: float
    rest: float | None
    spread: float


def derive_manifest(
    videos: Sequence[Video], steps: Mapping[str, int], *, name: str, dim: int, prefix: str = ""
) -> tuple[FeatureManifest, tuple[Decision, ...]]:
    """Derive the manifest that fits best, with the reasons; a warning among them where videos disagree.

    Strides are counted in frames where the annotations give frame rates that explain the lengths at least as well as
    seconds do, otherwise in seconds (``fps`` 1).

    Args:
        videos: Videos with features.
        steps: Feature vectors by video.
        name: Name of the manifest.
        dim: Its channels.
        prefix: What its file names begin with.

    Raises:
        ValueError: When there is no video.
    """
    known = [video for video in videos if video.id in steps]
    if not known:
        raise ValueError(f"{name}: no video with features, so that stride and frame rate cannot be derived")
    number = np.array([steps[video.id] for video in known], np.float64)
    seconds = np.array([video.duration_sec for video in known])
    if is_fixed_number(number, seconds):
        why = f"all {len(known)} videos have {number[0]:.0f} feature vectors, whatever their duration"
        return FeatureManifest(name, dim, None, prefix=prefix), (Decision("stride", "each video's own", why),)
    rates = np.array([video.fps or np.nan for video in known])
    in_seconds = _fit(seconds, number)
    in_frames = _fit(seconds * rates, number) if np.isfinite(rates).all() else None
    # As good as equal counts for frames: extractors step by whole frames.
    if in_frames is not None and in_frames.spread <= 1.05 * in_seconds.spread + 0.05:
        stride = _round_stride(in_frames.stride, 0.03 if in_frames.rest is None else 0.01)
        # Few videos do not show stride and window apart, but a stride that is a whole number is known.
        shown = in_frames.rest is not None or (stride == round(stride) and len(known) >= _MIN_VIDEOS)
        window = _window(seconds * rates, number, stride) if shown else None
        layout = FeatureManifest(name, dim, stride, None if window is None else float(round(window)), prefix=prefix)
        value = f"{stride:g} frames at the videos' own frame rates (usually {np.median(rates):g})"
    else:
        stride = float(f"{in_seconds.stride:.4g}")
        window = _window(seconds, number, stride) if in_seconds.rest is not None else None
        rounded = None if window is None else float(f"{window:.3g}")
        layout = FeatureManifest(name, dim, stride, rounded, fps=1.0, prefix=prefix)
        value = f"{stride:g} s"
    per_step = seconds / number
    decisions = [
        Decision(
            "stride",
            value,
            f"durations over numbers of feature vectors, {np.median(per_step):.3g} s per step in the median over "
            f"{count(len(known), 'video')} ({per_step.min():.3g} to {per_step.max():.3g})",
        )
    ]
    if layout.window_frame is not None:
        unit = "frames" if layout.fps is None else "s"
        why = "what remains of the durations beside the strides"
        decisions.append(Decision("window", f"{layout.window_frame:g} {unit}", why))
    check = check_timing(known, steps, layout)
    for group in () if check is None else check.groups:
        decisions.append(
            Decision(
                "warning",
                f"{count(len(group.videos), 'video')} of {len(known)} with features {in_words(group.ratio)} than that",
                f"{examples(list(group.videos))}; extract them alike, or correct their durations",
            )
        )
    return layout, tuple(decisions)


def _fit(length: Array, steps: Array) -> _Fit:
    ratio = length / steps
    alike = np.abs(ratio / np.median(ratio) - 1) <= _ALIKE

    def spread(stride: float, rest: float) -> float:
        return float(np.minimum(np.abs(all_length - rest - stride * all_steps) / stride, _FAR_STEPS).mean())

    all_length, all_steps = length, steps
    length, steps = length[alike], steps[alike]
    order = np.argsort(steps, kind="stable")
    half = len(order) // 2
    low, high = order[:half], order[half : 2 * half]
    run = float((steps[high] - steps[low]).sum())
    if len(order) < _MIN_VIDEOS or run < _MIN_RUN_STEPS:
        stride = float(np.median(ratio))
        return _Fit(stride, None, spread(stride, 0.0))
    stride = float((length[high] - length[low]).sum()) / run
    rest = float(np.median(length - stride * steps))
    return _Fit(stride, rest, spread(stride, rest))


def _round_stride(stride: float, tolerance: float) -> float:
    """Round to a whole number of frames where one is that near, as a share of it."""
    whole = round(stride)
    return float(whole) if whole and abs(stride / whole - 1) < tolerance else float(f"{stride:.4g}")


def _window(length: Array, steps: Array, stride: float) -> float | None:
    """Window of an extractor with whole windows; None where it is no longer than the stride."""
    alike = np.abs(length / steps / np.median(length / steps) - 1) <= _ALIKE
    # What rounding down leaves is spread evenly over one stride, so both ends tell more than the middle.
    window = float(np.quantile(length[alike] - stride * steps[alike], (0.1, 0.9)).mean()) + stride / 2
    return window if 0.75 * stride < window - stride < _LONGEST_WINDOW_STRIDES * stride else None
