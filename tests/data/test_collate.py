# SPDX-License-Identifier: Apache-2.0
"""Padding and ragged targets."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from asl_fast.data.collate import collate, padded_length
from asl_fast.data.dataset import Sample
from tests.data.helpers import GRID


def sample(steps: int, count: int, dim: int = 3) -> Sample:
    return Sample(
        video_id=f"s{steps}",
        features=torch.full((steps, dim), float(steps)),
        segments=torch.full((count, 2), float(steps)),
        labels=torch.full((count,), steps),
        duration_sec=float(steps),
        grid=GRID,
    )


def test_layout() -> None:
    batch = collate([sample(5, 2), sample(8, 0), sample(2, 1)], pad_multiple=4)
    assert batch.video_ids == ("s5", "s8", "s2") and len(batch) == 3
    assert batch.features.shape == (3, 8, 3)
    assert batch.mask.sum(dim=1).tolist() == [5, 8, 2]
    assert batch.features[~batch.mask].abs().sum() == 0
    assert torch.equal(batch.features[0, :5], torch.full((5, 3), 5.0))
    assert batch.video_offsets.tolist() == [0, 2, 2, 3]
    assert batch.video_offsets.dtype == torch.int64
    assert batch.labels.tolist() == [5, 5, 2]
    assert batch.segments.shape == (3, 2)
    assert batch.durations_sec == (5.0, 8.0, 2.0) and batch.grids == (GRID, GRID, GRID)


@pytest.mark.parametrize(
    ("longest", "options", "expected"),
    [
        (5, {}, 5),
        (5, {"pad_multiple": 4}, 8),
        (8, {"pad_multiple": 4}, 8),
        (5, {"max_length": 20}, 20),
        (25, {"max_length": 20, "pad_multiple": 8}, 32),
        (5, {"buckets": [4, 8, 16]}, 8),
        (17, {"buckets": [4, 8, 16]}, 17),
        (17, {"buckets": [64, 20], "pad_multiple": 16}, 32),
    ],
)
def test_padded_length(longest: int, options: dict[str, object], expected: int) -> None:
    assert padded_length(longest, **options) == expected  # type: ignore[arg-type]


def test_to_and_pin_keep_everything_else() -> None:
    batch = collate([sample(5, 2)])
    moved = batch.to("meta")
    assert moved.features.device.type == moved.video_offsets.device.type == "meta"
    assert moved.video_ids == batch.video_ids and moved.grids == batch.grids


@pytest.mark.gpu
def test_pinned_memory() -> None:
    if not torch.cuda.is_available():
        pytest.skip("page-locked memory needs a CUDA device")
    assert collate([sample(5, 2)]).pin_memory().features.is_pinned()


def test_nothing_to_collate() -> None:
    with pytest.raises(ValueError, match="no samples"):
        collate([])


def test_different_widths() -> None:
    with pytest.raises(ValueError, match=r"'s6' has features of width 4.*'s5'.*has 3"):
        collate([sample(5, 2), replace(sample(6, 1), features=torch.zeros(6, 4))])


def test_bad_multiple() -> None:
    with pytest.raises(ValueError, match="pad_multiple"):
        collate([sample(5, 2)], pad_multiple=0)
