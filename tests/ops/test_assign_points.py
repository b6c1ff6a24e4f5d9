# SPDX-License-Identifier: Apache-2.0
"""Point assignment: ActionFormer's targets on real annotations, a scalar transcription, ragged batches, edges."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asl_fast import RaggedTargets, assign_points
from asl_fast.ops.assign_points import PointAssignment
from asl_fast.reference import assign_points as reference
from tests.ops import checks
from tests.shared import golden_arrays

OP = "assign_points"
RADIUS = {"r1.5": 1.5, "r2.5": 2.5, "none": None}


def pyramid(length: int = 64, ranges: tuple[float, ...] = (0, 4, 8, 16, 32, 10000)) -> Tensor:
    """Return (P, 4): time, range low, range high, stride of a pyramid with one level per range."""
    levels = []
    for level, (low, high) in enumerate(pairwise(ranges)):
        time = torch.arange(0, length, 2**level, dtype=torch.float32)
        levels.append(torch.stack((time, *(torch.full_like(time, v) for v in (low, high, 2**level))), dim=-1))
    return torch.cat(levels)


def random_targets(counts: list[int], classes: int, seed: int = 0, length: float = 64.0) -> RaggedTargets:
    generator = torch.Generator().manual_seed(seed)
    videos = []
    for count in counts:
        start = torch.rand(count, generator=generator) * length - 2
        size = torch.rand(count, generator=generator) ** 3 * length
        videos.append((torch.stack((start, start + size), -1), torch.randint(classes, (count,), generator=generator)))
    return RaggedTargets.from_list(videos)


def definition(
    points: list[list[float]], segments: list[list[float]], labels: list[int], radius: float | None, tolerance: float
) -> list[tuple[set[int], int]]:
    """Apply the rule in Python numbers: classes and instance (-1) of every point of one video."""
    result = []
    for time, low, high, stride in points:
        claims = []
        for row, (start, end) in enumerate(segments):
            inside = start < time < end
            if radius is not None:
                inside = inside and abs(time - (start + end) / 2) < radius * stride
            if inside and low <= max(time - start, end - time) <= high:
                claims.append((end - start, row))
        shortest = min(claims, default=(math.inf, -1))
        result.append(({labels[row] for size, row in claims if size <= shortest[0] + tolerance}, shortest[1]))
    return result


@pytest.mark.parametrize("dataset", ["multithumos", "thumos14"])
@pytest.mark.parametrize("tag", ["r1.5", "none", "r2.5"])
def test_equals_actionformer_on_real_annotations_as_one_ragged_batch(dataset: str, tag: str) -> None:
    data: dict[str, Any] = golden_arrays(f"label_points_{dataset}")
    config = next(c for c in json.loads(str(data["configs"])) if c["tag"] == tag)
    videos = [0] if "only_video" in config else list(range(15))
    points, classes = torch.tensor(data["points"]), int(data["num_classes"])
    pairs = [(torch.tensor(data[f"v{i}__seg_grid"]), torch.tensor(data[f"v{i}__labels"])) for i in videos]
    targets = RaggedTargets.from_list(pairs)
    found = assign_points(points, targets, classes, center_sampling_radius=RADIUS[tag])
    assert found.class_targets.shape == (len(videos), len(points), classes)
    for row, video in enumerate(videos):
        expected = torch.zeros(len(points), classes)
        where = torch.tensor(data[f"v{video}__{tag}__cls_idx"]).long()
        expected[where[:, 0], where[:, 1]] = 1
        assert torch.equal(found.class_targets[row], expected), f"video {video}"
        positive = expected.any(-1)
        assert torch.equal(found.positive[row], positive)
        # Every row with a class counts, exact ties included: the first of the shortest is followed, as there.
        regression = torch.tensor(data[f"v{video}__{tag}__reg"])
        torch.testing.assert_close(found.offsets[row][positive], regression[positive], rtol=1e-6, atol=1e-6)


def check_consistency(points: Tensor, targets: RaggedTargets, found: PointAssignment) -> None:
    """Assert what must hold between the parts of any result."""
    positive = found.positive
    assert torch.equal(positive, found.instance >= 0)
    assert torch.equal(positive, found.class_targets.any(-1))
    for part in (found.offsets, found.distance):
        assert not bool(part[~positive].any())
    instance = found.instance[positive]
    video = positive.nonzero()[:, 0]
    assert torch.equal(targets.video_index()[instance], video)
    assert bool((found.class_targets[positive].gather(1, targets.labels[instance, None]) == 1).all())
    time, _, _, stride = points.expand(*positive.shape, 4)[positive].unbind(-1)
    start, end = targets.segments[instance].unbind(-1)
    decoded = found.offsets[positive] * stride[:, None] * torch.tensor([-1.0, 1.0]) + time[:, None]
    torch.testing.assert_close(decoded, targets.segments[instance], rtol=1e-6, atol=1e-4)
    distance = found.distance[positive]
    assert bool((distance.abs() < 0.5).all())
    torch.testing.assert_close(distance * (end - start) + (start + end) / 2, time, rtol=1e-6, atol=1e-4)


# Halves between -4 and 36: sums are exact, and equal lengths, shared ends and range ends hit exactly are all frequent.
halves = st.integers(-8, 72).map(lambda half: half / 2)
instances = st.lists(st.tuples(halves, halves, st.integers(0, 3)), max_size=7)


@given(videos=st.lists(instances, min_size=1, max_size=3), radius=st.sampled_from([None, 0.5, 1.5]))
@settings(max_examples=80, deadline=None)
def test_equals_the_definition(videos: list[list[tuple[float, float, int]]], radius: float | None) -> None:
    points = pyramid(32)
    pairs = [
        (torch.tensor([row[:2] for row in video]).reshape(-1, 2), torch.tensor([row[2] for row in video]).long())
        for video in videos
    ]
    targets = RaggedTargets.from_list(pairs)
    found = assign_points(points, targets, 4, center_sampling_radius=radius)
    check_consistency(points, targets, found)
    for b, (segments, labels) in enumerate(pairs):
        rule = definition(points.tolist(), segments.tolist(), labels.tolist(), radius, 1e-3)
        classes = [set(row.nonzero().flatten().tolist()) for row in found.class_targets[b]]
        first = int(targets.video_offsets[b])
        local = [row - first if row >= 0 else -1 for row in found.instance[b].tolist()]
        assert list(zip(classes, local, strict=True)) == rule


def test_a_batch_is_its_videos_one_by_one_and_ignores_their_neighbours() -> None:
    points, targets = pyramid(), random_targets([9, 0, 30, 1], classes=5, seed=1)
    together = assign_points(points, targets, 5)
    check_consistency(points, targets, together)
    assert int(together.positive.sum()) > 50
    for b in range(4):
        rows = slice(int(targets.video_offsets[b]), int(targets.video_offsets[b + 1]))
        alone = assign_points(points, RaggedTargets.from_list([(targets.segments[rows], targets.labels[rows])]), 5)
        for name in ("class_targets", "offsets", "distance", "positive"):
            assert torch.equal(getattr(together, name)[b], getattr(alone, name)[0]), name
        moved = torch.where(alone.instance >= 0, alone.instance + targets.video_offsets[b], -1)
        assert torch.equal(together.instance[b], moved[0])


def test_padded_instances_take_no_part() -> None:
    """A captured graph has room for more instances than a batch brings; what lies there may be anything."""
    points, targets = pyramid(), random_targets([9, 0, 30], classes=5, seed=1)
    expected = assign_points(points, targets, 5)
    rows = torch.tensor([[0.0, 40.0], [3.0, 9.0], [torch.nan, 1.0], [5.0, torch.inf]])
    padded = RaggedTargets(
        torch.cat([targets.segments, rows]),
        torch.cat([targets.labels, torch.tensor([1, -7, 99, 5])]),
        targets.video_offsets,
    )
    for one, other in zip(assign_points(points, padded, 5), expected, strict=True):
        assert torch.equal(one, other)
    nothing = assign_points(points, padded._replace(video_offsets=torch.zeros(4, dtype=torch.int64)), 5)
    assert not bool(nothing.positive.any()) and not bool(nothing.class_targets.any())


def test_shortest_wins_ties_share_classes_and_the_first_gives_the_offsets() -> None:
    points = torch.tensor([[10.0, 0.0, 100.0, 2.0]])

    def assign(rows: list[tuple[float, float, int]], **keywords: Any) -> PointAssignment:
        table = torch.tensor(rows)
        return assign_points(points, RaggedTargets.from_list([(table[:, :2], table[:, 2].long())]), 4, **keywords)

    found = assign([(4, 16, 0), (8, 13, 1), (6, 15, 2)])
    assert found.class_targets.tolist() == [[[0, 1, 0, 0]]]
    assert found.instance.item() == 1
    assert found.offsets.tolist() == [[[1.0, 1.5]]]
    assert found.distance.item() == pytest.approx(-0.1, abs=1e-7)

    equal = assign([(4, 16, 0), (7, 12, 3), (8, 13, 1)])
    assert equal.class_targets.tolist() == [[[0, 1, 0, 1]]]
    assert equal.instance.item() == 1

    near = [(8, 13.0005, 1), (8, 13, 2), (8, 13.002, 3)]
    found = assign(near)
    assert found.class_targets.tolist() == [[[0, 1, 1, 0]]]
    assert found.instance.item() == 1, "offsets follow the exactly shortest, not the first within the tolerance"
    assert assign(near, tie_tolerance=0.0).class_targets.tolist() == [[[0, 0, 1, 0]]]


def test_inside_is_open_and_the_regression_range_closed() -> None:
    points = torch.tensor([[t, low, high, 1.0] for t in (0.0, 2.0, 4.0, 8.0) for low, high in ((0.0, 4.0), (4.0, 8.0))])
    targets = RaggedTargets.from_list([(torch.tensor([[0.0, 8.0]]), torch.tensor([0]))])
    found = assign_points(points, targets, 1, center_sampling_radius=None)
    # t = 0 and 8 lie on a boundary; t = 4 reaches exactly 4 to both sides and so counts on both levels.
    assert found.positive.tolist() == [[False, False, False, True, True, True, False, False]]
    assert assign_points(points, targets, 1, center_sampling_radius=2.0).positive.sum().item() == 2


def test_no_instances_no_points_no_videos() -> None:
    points, empty = pyramid(), random_targets([0, 0], classes=3)
    found = assign_points(points, empty, 3)
    assert found.class_targets.shape == (2, len(points), 3) and not bool(found.class_targets.any())
    assert found.offsets.shape == (2, len(points), 2) and not bool(found.offsets.any())
    assert bool((found.instance == -1).all()) and not bool(found.positive.any())
    assert assign_points(points[:0], random_targets([2], classes=3), 3).distance.shape == (1, 0)
    nobody = RaggedTargets(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
    assert assign_points(points, nobody, 3).class_targets.shape == (0, len(points), 3)


def test_segments_without_length_or_with_nan_claim_nothing() -> None:
    segments = torch.tensor([[5.0, 5.0], [9.0, 3.0], [math.nan, 9.0], [2.0, math.nan]])
    targets = RaggedTargets.from_list([(segments, torch.zeros(4).long())])
    found = assign_points(pyramid(), targets, 1)
    assert not bool(found.positive.any())
    assert bool(found.offsets.isfinite().all()) and bool(found.distance.isfinite().all())


def test_large_problems_go_through_in_blocks_with_equal_results(monkeypatch: pytest.MonkeyPatch) -> None:
    points, targets = pyramid(), random_targets([40, 25], classes=4, seed=2)
    whole = assign_points(points, targets, 4)
    monkeypatch.setattr(reference, "BLOCK_ELEMENTS", 1000)
    for one, other in zip(assign_points(points, targets, 4), whole, strict=True):
        assert torch.equal(one, other)


def test_dtypes_layouts_and_gradients() -> None:
    points, targets = pyramid(), random_targets([12], classes=4, seed=3)
    plain = assign_points(points, targets, 4)
    assert [part.dtype for part in plain] == [torch.float32] * 2 + [torch.int64, torch.float32, torch.bool]
    strided = RaggedTargets(targets.segments.T.contiguous().T, targets.labels, targets.video_offsets)
    for one, other in zip(assign_points(points.T.contiguous().T, strided, 4), plain, strict=True):
        assert torch.equal(one, other)
    double = RaggedTargets(targets.segments.double().requires_grad_(), targets.labels, targets.video_offsets)
    wide = assign_points(points.double(), double, 4)
    assert wide.offsets.dtype == torch.float64 and not wide.offsets.requires_grad
    torch.testing.assert_close(wide.offsets.float(), plain.offsets, rtol=1e-5, atol=1e-5)
    halved = RaggedTargets(targets.segments.half(), targets.labels, targets.video_offsets)
    assert assign_points(points, halved, 4).offsets.dtype == torch.float32


def test_bad_arguments_are_named() -> None:
    points, targets = pyramid(), random_targets([3, 2], classes=4, seed=4)
    labels, change = targets.labels, targets._replace
    cases: list[tuple[type[Exception], str, Tensor, RaggedTargets, dict[str, Any]]] = [
        (ValueError, r"labels must lie in \[0, 3\], got 0 to 4", points, change(labels=torch.arange(5)), {}),
        (ValueError, "got -1 to -1", points, change(labels=torch.full((5,), -1)), {}),
        (ValueError, r"segments 5, got \[0, 3, 6\]", points, change(video_offsets=torch.tensor([0, 3, 6])), {}),
        (ValueError, r"got \[0, 6, 5\]", points, change(video_offsets=torch.tensor([0, 6, 5])), {}),
        (ValueError, r"points must be \(P, 4\)", points[:, :3], targets, {}),
        (ValueError, r"targets.segments must be \(G, 2\)", points, change(segments=torch.zeros(5)), {}),
        (ValueError, r"targets.labels must be \(5,\), got \(4,\)", points, change(labels=labels[:4]), {}),
        (ValueError, r"targets.video_offsets must be \(B \+ 1,\)", points, change(video_offsets=torch.tensor(5)), {}),
        (TypeError, "labels must be int64, got torch.int32", points, change(labels=labels.int()), {}),
        (TypeError, "points must be floating point", points.long(), targets, {}),
        (ValueError, "points is on meta but segments on cpu", points.to("meta"), targets, {}),
        (ValueError, "radius must be positive or None, got 0", points, targets, {"center_sampling_radius": 0}),
        (ValueError, "tie_tolerance must be", points, targets, {"tie_tolerance": -1.0}),
    ]  # fmt: skip
    for error, message, p, t, keywords in cases:
        with pytest.raises(error, match=message):
            assign_points(p, t, 4, **keywords)
    with pytest.raises(ValueError, match="num_classes must be at least 1"):
        assign_points(points, targets, 0)


def test_ragged_targets() -> None:
    pairs = [(torch.tensor([[0, 1], [2, 4]]), torch.tensor([1, 0])), (torch.zeros(0, 2), torch.zeros(0))]
    targets = RaggedTargets.from_list(pairs)
    assert targets.segments.dtype == torch.float32 and targets.labels.dtype == torch.int64
    assert targets.video_offsets.tolist() == [0, 2, 2] and targets.batch_size == 2
    assert targets.video_index().tolist() == [0, 0]
    assert targets.to("meta").segments.device.type == "meta"
    with pytest.raises(ValueError, match="empty list"):
        RaggedTargets.from_list([])
    with pytest.raises(ValueError, match=r"video 1: segments must be \(G, 2\), got \(2,\)"):
        RaggedTargets.from_list([pairs[0], (torch.zeros(2), torch.zeros(2))])
    with pytest.raises(ValueError, match=r"video 0: 2 segments need labels \(2,\), got \(3,\)"):
        RaggedTargets.from_list([(torch.zeros(2, 2), torch.zeros(3))])


@pytest.mark.parametrize("counts", [[3, 0, 2], [0]])
@pytest.mark.parametrize("radius", [1.5, None])
def test_registration(counts: list[int], radius: float | None) -> None:
    targets = random_targets(counts, classes=3)
    given = reference.Operands(
        points=pyramid(16),
        segments=targets.segments,
        labels=targets.labels,
        video_offsets=targets.video_offsets,
        num_classes=3,
        center_sampling_radius=radius,
        tie_tolerance=1e-3,
    )
    checks.opcheck(torch.ops.asl_fast.assign_points.default, *given)


def test_compiles_without_a_graph_break() -> None:
    checks.compiles(
        lambda points, *targets: assign_points(points, RaggedTargets(*targets), 3).offsets,
        pyramid(),
        *random_targets([5, 4], classes=3),
    )


@pytest.mark.parametrize("name", checks.implementations("assign_points"))
@pytest.mark.parametrize("radius", [1.5, None])
@pytest.mark.parametrize("counts", [[0], [1], [300, 0, 17, 64, 65]], ids=str)
def test_every_implementation_equals_the_reference(name: str, radius: float | None, counts: list[int]) -> None:
    points, targets = pyramid(256), random_targets(counts, classes=20, seed=5, length=256)
    targets.segments[:40].round_(decimals=0)  # ties of length, boundaries on points
    with checks.every_call_on(name):
        found = assign_points(points, targets, 20, center_sampling_radius=radius)
    with checks.every_call_on("reference"):
        expected = assign_points(points, targets, 20, center_sampling_radius=radius)
    for one, other, field in zip(found, expected, PointAssignment._fields, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6, msg=lambda m, f=field: f"{f}: {m}")
