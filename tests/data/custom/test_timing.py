# SPDX-License-Identifier: Apache-2.0
"""The settings of an extractor are found from the lengths that it left behind."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from asl_fast.data.annotations.video import Video
from asl_fast.data.custom.timing import derive_manifest
from asl_fast.data.features.manifest import FeatureManifest
from tests.data.helpers import video
from tests.shared import shared_file


def videos(*rates: float | None, number: int = 60, longest_sec: float = 300) -> list[Video]:
    """Videos of random lengths, the given frame rates in turn."""
    durations = np.random.default_rng(0).uniform(20, longest_sec, size=number)
    return [video(f"v{i}", duration_sec=float(d), fps=rates[i % len(rates)]) for i, d in enumerate(durations)]


def extracted(found: list[Video], stride: float, window: float, fps: float | None = None) -> dict[str, int]:
    """Feature vectors of whole windows, counted in each video's own frames unless ``fps`` is given."""
    return {v.id: int((v.duration_sec * (fps or v.fps or 1.0) - window) / stride) + 1 for v in found}


def derive(found: list[Video], steps: dict[str, int]) -> tuple[FeatureManifest, str]:
    layout, decisions = derive_manifest(found, steps, name="mine", dim=8)
    return layout, "\n".join(map(str, decisions))


@pytest.mark.parametrize(("stride", "window"), [(4, 16), (8, 16), (16, 32), (16, 16), (1, 1)])
@pytest.mark.parametrize("rates", [(30.0,), (25.0, 30.0, 24.0)])
def test_frames(stride: int, window: int, rates: tuple[float, ...]) -> None:
    found = videos(*rates)
    layout, why = derive(found, extracted(found, stride, window))
    assert (layout.stride_frame, layout.fps) == (stride, None)
    assert layout.window_frame == (None if window == stride else pytest.approx(window, abs=stride / 4))
    assert f"{stride} frames at the videos' own frame rates" in why and "warning" not in why


def test_one_rate_for_all_although_the_videos_differ() -> None:
    """Videos that were resampled to 30 frames per second before extraction."""
    found = videos(25.0, 30.0, 24.0)
    layout, why = derive(found, extracted(found, 16, 32, fps=30))
    assert layout.fps == 1 and layout.is_in_seconds
    assert layout.stride_frame == pytest.approx(16 / 30, rel=2e-3)
    assert layout.window_frame == pytest.approx(32 / 30, abs=0.1)
    assert "s per step in the median over 60 videos" in why


def test_seconds_without_frame_rates() -> None:
    found = videos(None)
    layout, _ = derive(found, extracted(found, 16, 16, fps=30))
    assert layout.fps == 1 and layout.window_frame is None
    assert layout.stride_frame == pytest.approx(16 / 30, rel=2e-3)


def test_places_are_right_to_a_fraction_of_a_step() -> None:
    """What matters: the derived grid puts every feature vector where the extractor's does."""
    found = videos(30.0)
    steps = extracted(found, 4, 16)
    layout, _ = derive(found, steps)
    truth = FeatureManifest("truth", 8, 4, 16)
    for each in found:
        ends = [0.0, steps[each.id] - 1.0]
        got, expected = ([m.grid(each, steps[each.id]).to_sec(end) for end in ends] for m in (layout, truth))
        np.testing.assert_allclose(got, expected, atol=0.5 * 4 / 30)


def test_a_few_videos_are_spread_over_their_durations() -> None:
    found = videos(None, number=3, longest_sec=40)
    layout, why = derive(found, {v.id: round(v.duration_sec * 2) for v in found})
    assert layout.stride_frame == pytest.approx(0.5, rel=0.02)
    assert "over 3 videos" in why


def test_the_same_number_everywhere() -> None:
    found = videos(30.0, number=10)
    layout, why = derive(found, {v.id: 100 for v in found})
    assert layout.stride_frame is None and "all 10 videos have 100 feature vectors" in why


def test_videos_that_disagree_are_named() -> None:
    found = videos(30.0)
    layout, why = derive(found, extracted(found, 4, 16) | extracted(found[:9], 8, 16))
    assert (layout.stride_frame, layout.window_frame) == (4, 16)
    assert "warning           9 videos of 60 with features 2.0" in why and "times shorter than that: v" in why


def test_two_groups_around_the_median() -> None:
    """Half the videos have twice as many vectors: nobody is near the median of their steps."""
    found = videos(25.0, number=8)
    layout, why = derive(found, {v.id: round(v.duration_sec * (3 if i % 2 else 6)) for i, v in enumerate(found)})
    assert layout.stride_frame is not None and layout.stride_frame > 0
    assert "warning" in why and "with features" in why


def test_one_duration_and_many_lengths() -> None:
    """Clips that all last as long do not show what a vector more is worth."""
    found = [video(f"v{i}", duration_sec=40.0, fps=25.0) for i in range(60)]
    layout, _ = derive(found, {v.id: 100 + i % 26 for i, v in enumerate(found)})
    assert layout.stride_frame == pytest.approx(40 * 25 / 112.5, rel=0.05)


def test_nothing_to_derive_from() -> None:
    with pytest.raises(ValueError, match="mine: no video with features"):
        derive(videos(30.0), {})


@pytest.mark.parametrize(
    ("name", "stride", "window", "fps"),
    [("thumos14.json", 4, 16, None), ("thumos14.json", 8, 64, 25), ("activitynet13_19228.json", 16, 16, 15)],
)
def test_durations_of_real_data(name: str, stride: int, window: int, fps: float | None) -> None:
    """Real durations and frame rates; THUMOS14 has four rates."""
    database = json.loads(shared_file(f"data/annotations/{name}").read_text())["database"]
    found = [
        video(key, segments=(), duration_sec=entry["duration"], fps=entry.get("fps"))
        for key, entry in database.items()
        if entry["duration"] > 20
    ][:500]
    steps = extracted(found, stride, window, fps)
    layout, _ = derive(found, steps)
    truth = FeatureManifest("truth", 8, stride, window, fps=fps)
    for each in found:
        derived, real = (m.grid(each, steps[each.id]) for m in (layout, truth))
        end = steps[each.id] - 1.0
        # Steps by which the last feature vector is misplaced.
        assert abs(derived.to_sec(end) - real.to_sec(end)) < max(1.0, 0.01 * end) * real.step_sec, each.id


def clips(
    stride: int, window: int, *, number: int = 60, shortest: int = 90, longest: int = 360
) -> tuple[list[Video], dict[str, int]]:
    """Videos of whole frames at 30 a second, too short for an estimate of the stride, and their lengths."""
    frames = np.random.default_rng(3).integers(shortest, longest, size=number)
    found = [video(f"v{i}", duration_sec=round(int(f) / 30, 3), fps=30.0) for i, f in enumerate(frames)]
    return found, {each.id: int((f - window) // stride) + 1 for each, f in zip(found, frames.tolist(), strict=True)}


@pytest.mark.parametrize(("stride", "window"), [(4, 16), (8, 24), (16, 64), (8, 8), (1, 1), (6, 30)])
def test_short_clips_give_whole_numbers(stride: int, window: int) -> None:
    found, steps = clips(stride, window)
    layout, why = derive(found, steps)
    assert (layout.stride_frame, layout.window_frame or layout.stride_frame) == (stride, window)
    assert "each of the 60 lengths exactly" in why and "warning" not in why


def test_a_few_odd_clips_do_not_hide_the_whole_numbers() -> None:
    found, steps = clips(4, 16)
    layout, why = derive(found, steps | {"v3": 9, "v17": 5})
    assert (layout.stride_frame, layout.window_frame) == (4, 16)
    assert "58 of 60 lengths exactly" in why


def test_what_is_ambiguous_is_said_with_the_candidates() -> None:
    found, steps = clips(16, 32, number=7, shortest=100, longest=200)
    layout, why = derive(found, steps)
    assert layout.stride_frame == 16 and layout.window_frame == 32
    assert "stride and window are ambiguous: stride/window " in why and "as well as 16/32" in why
    for pair in re.findall(r"(\d+)/(\d+)", why.partition("stride/window ")[2].partition(" frames explain")[0]):
        stride, window = map(int, pair)
        assert {v.id: int((round(v.duration_sec * 30) - window) // stride) + 1 for v in found} == steps
