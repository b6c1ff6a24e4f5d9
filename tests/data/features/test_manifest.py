# SPDX-License-Identifier: Apache-2.0
"""Timing of feature sets, against ActionFormer's formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asl_fast.data.features.manifest import MANIFESTS, FeatureManifest, combined_manifest, resize_linear
from tests.data.helpers import ramp, video

SECONDS = np.array([[0.0, 3.2], [17.5, 60.0]])


def test_rate_of_each_video() -> None:
    manifest = MANIFESTS["thumos14-i3d"]
    for fps in (24.0, 25.0, 29.97, 30.0):
        features, grid = manifest.prepare(video(fps=fps), ramp(50))
        assert len(features) == 50
        np.testing.assert_allclose(grid.to_grid(SECONDS), SECONDS * fps / 4 - 0.5 * 16 / 4, rtol=1e-14)


def test_fixed_rate_wins_over_the_video() -> None:
    # Ego4D conversions give the feature rate as fps.
    _, grid = MANIFESTS["ego4d-slowfast"].prepare(video(fps=1.87), ramp(50))
    np.testing.assert_allclose(grid.to_grid(SECONDS), SECONDS * 30 / 16 - 1, rtol=1e-14)


def test_no_rate_at_all() -> None:
    with pytest.raises(ValueError, match=r"video 'a': no frame rate.*'thumos14-i3d'"):
        MANIFESTS["thumos14-i3d"].prepare(video(), ramp(50))


@pytest.mark.parametrize("steps", [1, 37, 192, 400])
def test_activitynet_resizing(steps: int) -> None:
    # ActionFormer with force_upsampling: stride = ((T - 1) * stride + num_frames) / 192, offset 0.5.
    features, grid = MANIFESTS["activitynet13-tsp"].prepare(video(fps=29.0), ramp(steps))
    stride = ((steps - 1) * 16 + 16) / 192
    np.testing.assert_allclose(grid.to_grid(SECONDS), SECONDS * 15 / stride - 0.5, rtol=1e-12)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(ramp(steps).T.copy())[None], size=192, mode="linear", align_corners=False
    )[0].T
    torch.testing.assert_close(torch.from_numpy(features), expected, rtol=0, atol=0)


@pytest.mark.parametrize("resize", [None, 100, 160])
def test_videos_sampled_at_a_fixed_number_of_places(resize: int | None) -> None:
    # ActionFormer with feat_stride <= 0: stride = duration * fps / T of what the model gets.
    manifest = FeatureManifest("mine", 3, None, fps=25, resize=resize)
    features, grid = manifest.prepare(video(duration_sec=80.0), ramp(100))
    stride = 80.0 * 25 / (resize or 100)
    assert len(features) == (resize or 100)
    np.testing.assert_allclose(grid.to_grid(SECONDS), SECONDS * 25 / stride - 0.5, rtol=1e-12)
    assert manifest.expected_steps(video()) is None
    # The frame rate cancels, so none is needed.
    _, free = FeatureManifest("mine", 3, None, resize=resize).prepare(video(duration_sec=80.0), ramp(100))
    np.testing.assert_allclose(free.to_grid(SECONDS), grid.to_grid(SECONDS), rtol=1e-12)


def test_resized_features_stand_for_the_same_times() -> None:
    # A feature that is its own time in seconds still is, away from the ends where there is nothing to interpolate.
    manifest = FeatureManifest("mine", 1, 8, 16, fps=24, resize=64)
    plain = FeatureManifest("mine", 1, 8, 16, fps=24)
    times = plain.grid(video(), 150).to_sec(np.arange(150.0))[:, None]
    features, grid = manifest.prepare(video(), times.astype(np.float32))
    expected = grid.to_sec(np.arange(64.0))
    # The window is twice the stride: T strides and a half window are spread over the same shares, as ActionFormer does.
    np.testing.assert_allclose(features[4:-4, 0], expected[4:-4], atol=16 / 24)
    exact = FeatureManifest("mine", 1, 16, 16, fps=24, resize=64)
    times = FeatureManifest("mine", 1, 16, 16, fps=24).grid(video(), 150).to_sec(np.arange(150.0))[:, None]
    features, grid = exact.prepare(video(), times.astype(np.float32))
    np.testing.assert_allclose(features[2:-2, 0], grid.to_sec(np.arange(64.0))[2:-2], rtol=1e-6)


def test_offset_of_its_own() -> None:
    _, grid = FeatureManifest("mine", 3, 16, 16, fps=16, offset_frame=0).prepare(video(), ramp(10))
    assert grid.to_grid(5.0) == 5.0
    _, resized = FeatureManifest("mine", 3, 16, 16, fps=16, offset_frame=0, resize=20).prepare(video(), ramp(10))
    # Windows begin half a window earlier than usual: at -0.5 s, and 10 s long in all.
    assert resized.to_grid(-0.5) == pytest.approx(-0.5)
    assert resized.to_grid(9.5) == pytest.approx(19.5)


def test_expected_steps() -> None:
    assert MANIFESTS["thumos14-i3d"].expected_steps(video(duration_sec=10.0, fps=30.0)) == (300 - 16) // 4 + 1


def test_known_sets() -> None:
    table = {name: (m.dim, m.stride_frame, m.window_frame, m.fps) for name, m in MANIFESTS.items()}
    assert table["thumos14-i3d"] == (2048, 4, 16, None)
    assert table["charades-i3d-rgb"] == (1024, 8, 16, 24)
    assert table["epic100-slowfast"] == (2304, 16, 32, 30)
    assert table["activitynet13-tsp"] == (512, 16, 16, 15)


def test_combined_sets() -> None:
    both = combined_manifest("ego4d-slowfast+ego4d-omnivore+ego4d-egovlp")
    assert both.dim == 2304 + 1536 + 256 and both.stride_frame == 16 and both.window_frame == 32
    with pytest.raises(ValueError, match="unknown feature manifest 'x'"):
        combined_manifest("ego4d-slowfast+x")
    with pytest.raises(ValueError, match="differ in stride"):
        combined_manifest("thumos14-i3d+epic100-slowfast")


@pytest.mark.parametrize("option", ["dim", "stride_frame", "window_frame", "fps", "resize"])
def test_sizes_are_positive(option: str) -> None:
    with pytest.raises(ValueError, match=f"'mine': {option} must be positive"):
        FeatureManifest(**{"name": "mine", "dim": 3, "stride_frame": 4, option: 0})  # type: ignore[arg-type]


def test_resize_of_one_step() -> None:
    np.testing.assert_array_equal(resize_linear(np.array([[3.0, 4.0]], np.float32), 3), [[3, 4]] * 3)


LAYOUTS = st.builds(
    FeatureManifest,
    st.just("mine"),
    st.just(3),
    st.one_of(st.none(), st.floats(0.5, 64)),
    st.one_of(st.none(), st.floats(0.5, 64)),
    st.floats(1, 120),
    st.one_of(st.none(), st.floats(-50, 50)),
    st.one_of(st.none(), st.integers(1, 256)),
)


@given(LAYOUTS, st.integers(1, 2000), st.floats(1, 1000), st.lists(st.floats(0, 1000), min_size=1, max_size=8))
def test_seconds_to_grid_and_back_whatever_the_layout(
    layout: FeatureManifest, steps: int, duration_sec: float, seconds: list[float]
) -> None:
    grid = layout.grid(video(duration_sec=duration_sec), steps)
    times = np.array(seconds)
    # Rounded twice in each direction; a grid of few steps over little time makes large indices of what lies far away.
    scale = 1e-12 * (1000 + abs(grid.origin_frame) / grid.fps)
    np.testing.assert_allclose(grid.to_sec(grid.to_grid(times)), times, rtol=0, atol=scale)
    np.testing.assert_allclose(grid.shifted(7).to_sec(grid.to_grid(times) - 7), times, rtol=0, atol=10 * scale)
    index = np.arange(min(steps, 50), dtype=np.float64)
    middle = grid.origin_frame / grid.fps + index * grid.step_sec
    np.testing.assert_allclose(grid.to_sec(index), middle, rtol=1e-12, atol=scale)
    np.testing.assert_allclose(grid.to_grid(middle), index, rtol=1e-9, atol=1e-9 + scale / grid.step_sec)


@given(LAYOUTS.filter(lambda layout: layout.stride_frame is not None), st.integers(1, 5000))
def test_expected_steps_are_those_that_were_extracted(layout: FeatureManifest, steps: int) -> None:
    covered = layout.extracted_grid(video(), steps).covered_sec(steps)
    assert layout.expected_steps(video(duration_sec=covered)) == steps
