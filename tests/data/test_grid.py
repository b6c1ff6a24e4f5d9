# SPDX-License-Identifier: Apache-2.0
"""Seconds to grid units and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asl_fast.data.grid import FeatureGrid

GRIDS = st.builds(
    FeatureGrid,
    st.floats(0.5, 240),
    st.floats(0.25, 64),
    st.floats(0.25, 64),
    st.one_of(st.none(), st.floats(-100, 100)),
)


def test_actionformer_convention() -> None:
    # ActionFormer: t * fps / stride - 0.5 * num_frames / stride.
    grid = FeatureGrid(fps=30, stride_frame=4, window_frame=16)
    assert grid.to_grid(10.0) == 10 * 30 / 4 - 0.5 * 16 / 4
    assert grid.to_sec(73.0) == 10.0
    assert grid.step_sec == pytest.approx(4 / 30)
    assert grid.reach_grid == 2


def test_index_is_the_middle_of_its_window() -> None:
    grid = FeatureGrid(fps=50, stride_frame=12, window_frame=12)
    assert grid.to_sec(0.0) == 6 / 50
    assert grid.to_sec(3.0) == (3 * 12 + 6) / 50


def test_explicit_offset() -> None:
    assert FeatureGrid(30, 16, 32, offset_frame=0).to_grid(16 / 30) == pytest.approx(1)


@given(GRIDS, st.floats(0, 1e5))
def test_there_and_back(grid: FeatureGrid, seconds: float) -> None:
    # Two roundings in each direction of values up to 1e5 * 240 / 0.25.
    assert grid.to_sec(grid.to_grid(seconds)) == pytest.approx(seconds, abs=1e-8, rel=1e-12)


@given(GRIDS, st.integers(0, 5000), st.floats(0, 1e4))
def test_a_crop_keeps_its_place_in_time(grid: FeatureGrid, start: int, seconds: float) -> None:
    assert grid.shifted(start).to_grid(seconds) == pytest.approx(grid.to_grid(seconds) - start, rel=1e-9, abs=1e-6)


def test_arrays_and_tensors() -> None:
    grid = FeatureGrid(24, 8, 16)
    seconds = np.array([[0.0, 1.0], [2.5, 30.0]])
    expected = seconds * 3 - 1
    np.testing.assert_array_equal(grid.to_grid(seconds), expected)
    tensor = torch.from_numpy(seconds).float()
    assert grid.to_grid(tensor).dtype == torch.float32
    torch.testing.assert_close(grid.to_grid(tensor), torch.from_numpy(expected).float(), rtol=0, atol=0)
    assert grid.to_grid(np.zeros((0, 2))).shape == (0, 2)


def test_number_of_steps() -> None:
    grid = FeatureGrid(30, 4, 16)
    assert grid.num_steps(16 / 30) == 1
    assert grid.num_steps(20 / 30) == 2
    assert grid.num_steps(0.01) == 1
    assert grid.covered_sec(2) == pytest.approx(20 / 30)


@pytest.mark.parametrize(
    "values", [(0, 4, 16), (30, -1, 16), (30, 4, 0), (float("nan"), 4, 16), (30, 4, 16, float("inf"))]
)
def test_impossible_values(values: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="FeatureGrid"):
        FeatureGrid(*values)
