# SPDX-License-Identifier: Apache-2.0
"""Stride and window of features, from their lengths and the durations of their videos.

An extractor that steps ``stride`` frames with whole windows writes ``floor((frames - window) / stride) + 1`` vectors.
Where whole numbers give every length, or nearly every one, these are taken (`whole_frames`). Otherwise both are
estimated: the frames grow by one stride per vector, and ``window - stride`` remains, with half a stride that rounding
down leaves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.annotations.video import Video
from asl_fast.data.custom.decision import Decision
from asl_fast.data.custom.whole_frames import LONGEST_WINDOW_STRIDES, MIN_VIDEOS, WholeFrames, whole_frames
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.features.timing_check import check_timing, in_words, is_fixed_number, typical
from asl_fast.wording import count, examples

Array = NDArray[np.float64]

_ALIKE = 0.15
_MIN_RUN_STEPS = 1000.0
_FAR_STEPS = 10.0
# Frame rates to try where the annotations have none.
_RATES = (30.0, 25.0, 24.0, 30000 / 1001, 24000 / 1001, 60.0, 50.0, 20.0, 15.0, 10.0)


class _Fit(NamedTuple):
    """``length = stride * steps + rest``; ``rest`` is None where there is too little to tell it from 0.

    ``spread`` is the mean distance from that in steps, over all videos; those far off count as ``_FAR_STEPS``.
    """

    stride: float
    rest: float | None
    spread: float


def derive_manifest(
    videos: Sequence[Video], steps: Mapping[str, int], *, name: str, dim: int
) -> tuple[FeatureManifest, tuple[Decision, ...]]:
    """Derive the manifest that fits best, with the reasons; a warning among them where videos disagree.

    Strides are counted in frames where the annotations give frame rates that explain the lengths at least as well as
    seconds do, otherwise in seconds (``fps`` 1). Of several pairs of stride and window that explain the lengths the
    most usual is taken, and the others are named.

    Args:
        videos: Videos with features.
        steps: Feature vectors by video.
        name: Name of the manifest.
        dim: Its channels.

    Raises:
        ValueError: When there is no video.
    """
    known = [video for video in videos if video.id in steps]
    if not known:
        raise ValueError(f"{name}: no video with features, so that stride and frame rate cannot be derived")
    number = np.array([steps[video.id] for video in known], np.float64)
    seconds = np.array([video.duration_sec for video in known])
    if is_fixed_number(number, seconds):
        why = f"all {len(known)} videos have {count(int(number[0]), 'feature vector')}, whatever their duration"
        return FeatureManifest(name, dim, None), (Decision("stride", "each video's own", why),)
    rates = np.array([video.fps or np.nan for video in known])
    exact = _exact(seconds, rates, number, name=name, dim=dim)
    if exact is not None:
        layout, decisions = exact
        return layout, (*decisions, *_disagreements(known, steps, layout))
    return _estimate(known, steps, seconds, rates, name=name, dim=dim)


def _exact(
    seconds: Array, rates: Array, number: Array, *, name: str, dim: int
) -> tuple[FeatureManifest, tuple[Decision, ...]] | None:
    """Return the manifest of whole frames that explains the lengths, with reasons; None where there is none."""
    if np.isfinite(rates).all():
        found = whole_frames(seconds * rates, number)
        if found is not None:
            layout = FeatureManifest(name, dim, float(found.stride_frame), _or_none(found, 1.0))
            value = f"{found.stride_frame} frames at {_own_rates(rates)}"
            return layout, tuple(_reasons(found, value, seconds / number, 1.0))
    tried = {rate: whole_frames(seconds * rate, number) for rate in _RATES}
    every = {rate: each for rate, each in tried.items() if each is not None and each.explained == len(number)}
    single = [(rate, each) for rate, each in every.items() if not each.others]
    if not single:
        return None
    rate, found = min(single, key=lambda pair: pair[0])
    # A multiple of the rate explains the lengths as well, with windows that differ by less than a frame.
    for other, each in every.items():
        for stride, window in ((each.stride_frame, each.window_frame), *each.others):
            same_stride = abs(stride / other - found.stride_frame / rate) < 1e-3 * found.stride_frame / rate
            if not same_stride or abs(window / other - found.window_frame / rate) > 1 / rate:
                return None
    layout = FeatureManifest(name, dim, found.stride_frame / rate, _or_none(found, rate), fps=1.0)
    value = f"{found.stride_frame / rate:.4g} s, whole frames at {rate:.5g} a second or a multiple of it"
    return layout, tuple(_reasons(found, value, seconds / number, rate))


def _or_none(found: WholeFrames, rate: float) -> float | None:
    return None if found.window_frame == found.stride_frame else found.window_frame / rate


def _own_rates(rates: Array) -> str:
    range_of = "" if np.ptp(rates) == 0 else f", {rates.min():g} to {rates.max():g}"
    return f"the videos' own frame rates (usually {np.median(rates):g}{range_of})"


def _per_step(per_step_sec: Array) -> str:
    return (
        f"durations over numbers of feature vectors, {np.median(per_step_sec):.3g} s per step in the median over "
        f"{count(len(per_step_sec), 'video')} ({per_step_sec.min():.3g} to {per_step_sec.max():.3g})"
    )


def _reasons(found: WholeFrames, value: str, per_step_sec: Array, rate: float) -> list[Decision]:
    videos = len(per_step_sec)
    every = f"each of the {videos} lengths" if found.explained == videos else f"{found.explained} of {videos} lengths"
    window = f"{found.window_frame} frames" if rate == 1 else f"{found.window_frame / rate:.3g} s"
    decisions = [
        Decision("stride", value, f"{_per_step(per_step_sec)}; with this window it gives {every} exactly"),
        Decision("window", window, "with this stride it is the only whole number that does"),
    ]
    if found.others:
        pairs = examples([f"{stride}/{window}" for stride, window in found.others], 8)
        decisions[1] = Decision("window", window, "the most usual of several that give as many lengths")
        decisions.append(
            Decision(
                "warning",
                "stride and window are ambiguous",
                f"stride/window {pairs} frames explain the lengths as well as {found.stride_frame}/"
                f"{found.window_frame}; if you know them, give a manifest (--manifest)",
            )
        )
    return decisions


def _estimate(
    known: Sequence[Video],
    steps: Mapping[str, int],
    seconds: Array,
    rates: Array,
    *,
    name: str,
    dim: int,
) -> tuple[FeatureManifest, tuple[Decision, ...]]:
    """Return the manifest of the stride that lengths grow by, with reasons."""
    number = np.array([steps[video.id] for video in known], np.float64)
    in_seconds = _fit(seconds, number)
    in_frames = _fit(seconds * rates, number) if np.isfinite(rates).all() else None
    # As good as equal counts for frames: extractors step by whole frames.
    if in_frames is not None and in_frames.spread <= 1.05 * in_seconds.spread + 0.05:
        stride = _round_stride(in_frames.stride, 0.03 if in_frames.rest is None else 0.01)
        # Few videos do not show stride and window apart, but a stride that is a whole number is known.
        shown = in_frames.rest is not None or (stride == round(stride) and len(known) >= MIN_VIDEOS)
        window = _window(seconds * rates, number, stride) if shown else None
        layout = FeatureManifest(name, dim, stride, None if window is None else float(round(window)))
        value = f"{stride:g} frames at {_own_rates(rates)}"
    else:
        stride = float(f"{in_seconds.stride:.4g}")
        window = _window(seconds, number, stride) if in_seconds.rest is not None else None
        rounded = None if window is None else float(f"{window:.3g}")
        layout = FeatureManifest(name, dim, stride, rounded, fps=1.0)
        value = f"{stride:g} s"
    no_whole = "estimated, as no whole numbers of frames give these lengths exactly"
    decisions = [Decision("stride", value, f"{_per_step(seconds / number)}; {no_whole}")]
    if layout.window_frame is not None:
        unit = "frames" if layout.fps is None else "s"
        why = "what remains of the durations beside the strides"
        decisions.append(Decision("window", f"{layout.window_frame:g} {unit}", why))
    return layout, (*decisions, *_disagreements(known, steps, layout))


def _disagreements(known: Sequence[Video], steps: Mapping[str, int], layout: FeatureManifest) -> Iterator[Decision]:
    check = check_timing(known, steps, layout)
    for group in () if check is None else check.groups:
        yield Decision(
            "warning",
            f"{count(len(group.videos), 'video')} of {len(known)} with features {in_words(group.ratio)} than that",
            f"{examples(list(group.videos))}; extract them alike, or correct their durations",
        )


def _fit(length: Array, steps: Array) -> _Fit:
    ratio = length / steps
    alike = _alike(ratio)

    def spread(stride: float, rest: float) -> float:
        return float(np.minimum(np.abs(all_length - rest - stride * all_steps) / stride, _FAR_STEPS).mean())

    all_length, all_steps = length, steps
    length, steps = length[alike], steps[alike]
    order = np.argsort(steps, kind="stable")
    half = len(order) // 2
    low, high = order[:half], order[half : 2 * half]
    run = float((steps[high] - steps[low]).sum())
    longer = float((length[high] - length[low]).sum())
    # Videos of one duration with more and fewer vectors do not show what a step is worth.
    if len(order) < MIN_VIDEOS or run < _MIN_RUN_STEPS or longer <= 0:
        stride = float(np.median(ratio))
        return _Fit(stride, None, spread(stride, 0.0))
    stride = longer / run
    rest = float(np.median(length - stride * steps))
    return _Fit(stride, rest, spread(stride, rest))


def _alike(ratio: Array) -> NDArray[np.bool_]:
    """Mark the videos with about the usual length of a step."""
    return np.abs(ratio / typical(ratio, _ALIKE) - 1) <= _ALIKE


def _round_stride(stride: float, tolerance: float) -> float:
    """Round to a whole number of frames where one is that near, as a share of it."""
    whole = round(stride)
    return float(whole) if whole and abs(stride / whole - 1) < tolerance else float(f"{stride:.4g}")


def _window(length: Array, steps: Array, stride: float) -> float | None:
    """Window of an extractor with whole windows; None where it is no longer than the stride."""
    alike = _alike(length / steps)
    # What rounding down leaves is spread evenly over one stride, so both ends tell more than the middle.
    window = float(np.quantile(length[alike] - stride * steps[alike], (0.1, 0.9)).mean()) + stride / 2
    return window if 0.75 * stride < window - stride < LONGEST_WINDOW_STRIDES * stride else None
