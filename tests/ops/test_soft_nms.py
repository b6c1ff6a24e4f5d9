# SPDX-License-Identifier: Apache-2.0
"""Soft-NMS against ActionFormer's compiled code (golden files), and what it promises beyond."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from asl_fast import backend, soft_nms
from asl_fast.reference.soft_nms import METHODS, Operands
from tests.ops import checks
from tests.ops.conftest import QUICK
from tests.shared import LARGE_SETS, golden_arrays

# The decays of a segment multiply up; the golden values come from float32 exponentials of an ulp or two.
SCORE_RTOL = 1e-6
# ActionFormer averages the voted boundaries (up to 240 s) in float32.
VOTE = {"rtol": 2e-6, "atol": 2e-5}

COUNTS = [1, 2, 7, 64, 500, 2000, *([5000] if LARGE_SETS else [])]
IMPLEMENTATIONS = [case for case in checks.implementations("soft_nms") if case.values[0] in QUICK]


@pytest.fixture(params=IMPLEMENTATIONS)
def implementation(request: pytest.FixtureRequest) -> Iterator[str]:
    with backend(request.param):
        yield request.param


def golden(name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    data = golden_arrays(name)
    return data, json.loads(str(data["configs"]))


def affordable(implementation: str, configs: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Choose a few large runs for the reference, which takes a second for each, and all of them for the others."""
    return configs[:: 1 if implementation != "reference" or count <= 500 else 5 if count <= 2000 else 12]


def tensors(*arrays: Any) -> list[Tensor]:
    return [torch.from_numpy(np.array(array)) for array in arrays]


@pytest.mark.parametrize("count", COUNTS)
def test_equals_actionformers_soft_nms(implementation: str, count: int) -> None:
    data, configs = golden(f"soft_nms_n{count}")
    segments, scores = tensors(data["segs"], data["scores"])
    for config in affordable(implementation, configs, count):
        result = soft_nms(
            segments,
            scores,
            method=METHODS[config["method"]],
            sigma=config["sigma"],
            iou_threshold=config["iou_threshold"],
            min_score=config["min_score"],
            max_segments=None,
        )
        expected, expected_scores = data[config["name"] + "__idx"], data[config["name"] + "__score"]
        np.testing.assert_array_equal(result.indices, expected, err_msg=config["name"])
        np.testing.assert_allclose(result.scores, expected_scores, rtol=SCORE_RTOL, err_msg=config["name"])
        np.testing.assert_array_equal(result.segments, data[config["name"] + "__seg"])
        assert result.labels is None
        assert result.video_index is None


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("threshold", [0.1, 0.5])
def test_hard_without_min_score_equals_actionformers_nms(implementation: str, count: int, threshold: float) -> None:
    data, _ = golden(f"soft_nms_n{count}")
    segments, scores = tensors(data["segs"], data["scores"])
    result = soft_nms(segments, scores, method="hard", iou_threshold=threshold, min_score=0.0, max_segments=None)
    np.testing.assert_array_equal(result.indices, data[f"nms_iou{threshold}__idx"])
    np.testing.assert_array_equal(result.scores, scores[result.indices])


def test_equals_actionformer_on_edges(implementation: str) -> None:
    data, configs = golden("soft_nms_edge")
    compared = 0
    for config in configs:
        if config["case"].startswith("tied"):
            continue  # there the order of the golden file follows from its bookkeeping; ours is tested below
        segments, scores = tensors(data[config["case"] + "__segs"], data[config["case"] + "__scores"])
        options = {key: config[key] for key in ("sigma", "iou_threshold", "min_score")}
        result = soft_nms(segments, scores, method=METHODS[config["method"]], **options)
        np.testing.assert_array_equal(result.indices, data[config["key"] + "__idx"], err_msg=config["key"])
        np.testing.assert_allclose(result.scores, data[config["key"] + "__score"], rtol=SCORE_RTOL)
        for threshold in (0.1, 0.5, 1.0):
            hard = soft_nms(segments, scores, method="hard", iou_threshold=threshold, min_score=0)
            np.testing.assert_array_equal(hard.indices, data[f"{config['case']}__nms_iou{threshold}__idx"])
        compared += 1
    assert compared >= 32


@pytest.mark.parametrize("case", ["c20_n300", "c20_n2000", *(["c65_n2000", "c65_n6000"] if LARGE_SETS else [])])
def test_equals_actionformers_batched_nms(implementation: str, case: str) -> None:
    data, configs = golden(f"batched_nms_{case}")
    segments, scores, labels = tensors(data["segs"], data["scores"], data["labels"])
    for config in affordable(implementation, configs, len(scores)):
        result = soft_nms(
            segments,
            scores,
            labels if config["multiclass"] else None,
            method="gaussian" if config["use_soft_nms"] else "hard",
            sigma=config["sigma"],
            iou_threshold=config["iou_threshold"],
            min_score=config["min_score"],
            max_segments=config["max_seg_num"],
            voting_threshold=None if config["multiclass"] else config["voting_thresh"],
        )
        name = config["name"]
        np.testing.assert_allclose(result.scores, data[f"{name}__score"], rtol=SCORE_RTOL, err_msg=name)
        np.testing.assert_array_equal(labels[result.indices], data[f"{name}__label"], err_msg=name)
        np.testing.assert_allclose(result.segments, data[f"{name}__seg"], **VOTE, err_msg=name)
        if result.labels is not None:
            assert torch.equal(result.labels, labels[result.indices])


def scene(count: int, seed: int = 0, classes: int = 5, videos: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random candidates that overlap a lot: segments, scores, labels, video index (unsorted)."""
    random = torch.Generator().manual_seed(seed)
    start = 30 * torch.rand(count, generator=random)
    segments = torch.stack((start, start + 0.1 + 5 * torch.rand(count, generator=random)), dim=1)
    labels = torch.randint(classes, (count,), generator=random)
    return segments, torch.rand(count, generator=random), labels, torch.randint(videos, (count,), generator=random)


def test_one_call_equals_a_loop_over_videos_and_classes(implementation: str) -> None:
    segments, scores, labels, video_index = scene(600)
    together = soft_nms(segments, scores, labels, video_index=video_index, max_segments=40, voting_threshold=0.6)
    assert together.labels is not None and together.video_index is not None
    for video in range(3):
        parts = []
        for label in range(5):
            rows = torch.nonzero((video_index == video) & (labels == label))[:, 0]
            part = soft_nms(segments[rows], scores[rows], max_segments=40, voting_threshold=0.6)
            parts.append((rows[part.indices], part.segments, part.scores))
        indices, moved, decayed = (torch.cat(columns) for columns in zip(*parts, strict=True))
        order = decayed.argsort(descending=True)[:40]
        own = together.video_index == video
        assert torch.equal(together.indices[own], indices[order])
        assert torch.equal(together.segments[own], moved[order])
        assert torch.equal(together.scores[own], decayed[order])
        assert torch.equal(together.labels[own], labels[indices[order]])
    assert bool((together.video_index[1:] >= together.video_index[:-1]).all())


@pytest.mark.parametrize("max_segments", [None, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_number_of_videos_changes_nothing(
    implementation: str, max_segments: int | None, dtype: torch.dtype
) -> None:
    segments, scores, labels, video_index = scene(200, videos=4)
    # In float64 the times of each video are shifted to zero first.
    segments = segments.to(dtype) + (1e9 * video_index[:, None] if dtype == torch.float64 else 0)
    options: dict[str, Any] = {"video_index": 2 * video_index, "max_segments": max_segments, "voting_threshold": 0.6}
    expected = soft_nms(segments, scores, labels, **options)
    for num_videos in (7, 1000):
        found = soft_nms(segments, scores, labels, num_videos=num_videos, **options)
        for one, other in zip(found, expected, strict=True):
            assert one is not None and other is not None and torch.equal(one, other)


def test_the_padded_result_has_room_for_what_the_videos_can_keep() -> None:
    given = op_arguments(labels=True, videos=True, max_segments=5)
    assert given.outputs().indices.shape == (60,)
    assert given._replace(num_videos=3).outputs().indices.shape == (15,)
    assert given._replace(num_videos=3, max_segments=0).outputs().indices.shape == (60,)


def test_ten_thousand_videos() -> None:
    segments, scores, labels, _ = scene(30_000)
    video_index = torch.arange(30_000) // 3
    result = soft_nms(segments, scores, labels, video_index=video_index, min_score=0.0, max_segments=2)
    assert torch.equal(result.video_index, torch.arange(10_000).repeat_interleave(2))
    best = torch.arange(10_000) * 3 + scores.reshape(-1, 3).argmax(1)
    assert torch.equal(result.indices[::2], best)
    order = torch.randperm(30_000, generator=torch.Generator().manual_seed(1))
    shuffled = soft_nms(
        segments[order], scores[order], labels[order], video_index=video_index[order], min_score=0.0, max_segments=2
    )
    assert torch.equal(order[shuffled.indices], result.indices)


def test_ties_go_to_the_lower_index(implementation: str) -> None:
    segments = torch.tensor([[0.0, 4], [1, 5], [20, 24], [21, 25]])
    scores = torch.full((4,), 0.5)
    for method in ("gaussian", "linear"):
        result = soft_nms(segments, scores, method=method)
        assert result.indices.tolist() == [0, 2, 1, 3]
        assert result.scores[0] == result.scores[1] == 0.5
        assert result.scores[2] == result.scores[3]
    assert soft_nms(segments, scores, method="hard", iou_threshold=0.5).indices.tolist() == [0, 2]
    assert soft_nms(segments, scores, torch.tensor([9, 9, -3, -3]), max_segments=3).indices.tolist() == [0, 2, 1]


def test_keep_best(implementation: str) -> None:
    segments = torch.tensor([[0.0, 1], [2, 3], [4, 5], [6, 7]])
    scores = torch.tensor([0.9, 0.0002, 0.0004, 0.0003])
    labels = torch.tensor([0, 1, 2, 2])
    assert soft_nms(segments, scores, labels).indices.tolist() == [0, 2, 1]
    assert soft_nms(segments, scores, labels, max_segments=2).indices.tolist() == [0, 2]
    assert soft_nms(segments, scores, labels, keep_best=False).indices.tolist() == [0]
    assert soft_nms(segments, scores).indices.tolist() == [0]
    assert soft_nms(segments[1:], -scores[1:]).indices.tolist() == [0]
    assert soft_nms(segments[1:], scores[1:], keep_best=False).indices.tolist() == []


def test_no_limit(implementation: str) -> None:
    segments, scores, _, _ = scene(300)
    for unlimited in (None, 0, -1):
        result = soft_nms(segments, scores, sigma=1e6, max_segments=unlimited)
        # Hardly any decay: all but those within it of min_score remain.
        assert len(result.indices) >= int((scores >= 0.0011).sum())
        assert bool((result.scores[1:] <= result.scores[:-1]).all())


def test_segments_without_length_or_reversed(implementation: str) -> None:
    segments = torch.tensor([[3.0, 3], [3, 3], [4, 2], [2, 4], [2.0, 4.0]])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5])
    for method in METHODS:
        result = soft_nms(segments, scores, method=method, iou_threshold=0.5, voting_threshold=0.5)
        assert result.indices.tolist()[:4] == [0, 1, 2, 3]
        torch.testing.assert_close(result.scores[:4], scores[:4], rtol=0, atol=0)
        torch.testing.assert_close(result.segments[:4], segments[:4], rtol=0, atol=0)


def test_voting_is_the_weighted_mean_of_the_same_class(implementation: str) -> None:
    segments = torch.tensor([[0.0, 10], [1, 10], [0, 8], [0, 3], [2, 10]])
    scores = torch.tensor([0.9, 0.6, 0.0005, 0.5, 0.8])
    labels = torch.tensor([0, 0, 0, 0, 1])
    result = soft_nms(segments, scores, labels, method="hard", voting_threshold=0.75)
    weights = torch.tensor([0.9 * 1.0, 0.6 * 0.9, 0.0005 * 0.8])  # the third is below min_score and votes nevertheless
    expected = (weights @ segments[:3]) / weights.sum()
    assert result.indices.tolist() == [0, 4]
    torch.testing.assert_close(result.segments, torch.stack((expected, segments[4])), rtol=1e-6, atol=1e-6)
    agnostic = soft_nms(segments, scores, method="hard", voting_threshold=0.75)
    weights = torch.tensor([0.9, 0.6 * 0.9, 0.0005 * 0.8, 0.8 * 0.8])
    expected = (weights @ segments[[0, 1, 2, 4]]) / weights.sum()
    torch.testing.assert_close(agnostic.segments, expected[None], rtol=1e-6, atol=1e-6)
    off = soft_nms(segments, scores, method="hard", voting_threshold=0)
    torch.testing.assert_close(off.segments, segments[:1], rtol=0, atol=0)


def test_empty(implementation: str) -> None:
    none = torch.zeros(0, dtype=torch.int32)
    result = soft_nms(torch.zeros(0, 2), torch.zeros(0), none, video_index=none, voting_threshold=0.5)
    assert [tuple(field.shape) for field in result if field is not None] == [(0, 2), (0,), (0,), (0,), (0,)]
    assert result.labels is not None and result.labels.dtype == torch.int32
    assert soft_nms(torch.zeros(0, 2), torch.zeros(0)).indices.tolist() == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_are_computed_in_float32(implementation: str, dtype: torch.dtype) -> None:
    segments, scores, labels, video_index = scene(200)
    low_segments, low_scores = segments.to(dtype), scores.to(dtype)
    result = soft_nms(low_segments, low_scores, labels, video_index=video_index.to(torch.int16))
    expected = soft_nms(low_segments.float(), low_scores.float(), labels, video_index=video_index)
    assert result.scores.dtype == result.segments.dtype == dtype
    assert torch.equal(result.indices, expected.indices)
    assert torch.equal(result.scores, expected.scores.to(dtype))
    assert torch.equal(result.segments, low_segments[result.indices])
    voted = soft_nms(low_segments, low_scores, labels, voting_threshold=0.5)
    assert voted.segments.dtype == dtype


def test_any_layout(implementation: str) -> None:
    segments, scores, labels, video_index = scene(200)
    expected = soft_nms(segments, scores, labels, video_index=video_index, voting_threshold=0.7)
    wide = torch.zeros(2, 400, dtype=torch.float32)
    wide[:, ::2] = segments.T
    result = soft_nms(
        wide[:, ::2].T,
        scores.repeat_interleave(3)[::3],
        labels.repeat_interleave(2)[::2],
        video_index=video_index.repeat_interleave(2)[::2],
        voting_threshold=0.7,
    )
    for one, other in zip(result, expected, strict=True):
        assert one is not None and other is not None and torch.equal(one, other)


def test_carries_no_gradient_and_leaves_the_input_alone(implementation: str) -> None:
    segments, scores, _, _ = scene(50)
    kept_segments, kept_scores = segments.clone(), scores.clone()
    result = soft_nms(segments.requires_grad_(), scores.requires_grad_(), voting_threshold=0.5)
    assert not result.segments.requires_grad and not result.scores.requires_grad
    result.segments.zero_()
    assert torch.equal(segments, kept_segments) and torch.equal(scores, kept_scores)


GOOD = {"segments": torch.tensor([[0.0, 1], [2, 3]]), "scores": torch.tensor([0.5, 0.4])}


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"segments": torch.zeros(2, 3)}, ValueError, r"segments must be \(N, 2\).*\(2, 3\)"),
        ({"segments": torch.zeros(2)}, ValueError, r"segments must be \(N, 2\)"),
        ({"scores": torch.zeros(3)}, ValueError, r"scores must be \(2,\), got \(3,\)"),
        ({"labels": torch.zeros(1, dtype=torch.int64)}, ValueError, r"labels must be \(2,\)"),
        ({"video_index": torch.zeros(2, 1, dtype=torch.int64)}, ValueError, r"video_index must be \(2,\)"),
        ({"segments": torch.zeros(2, 2, dtype=torch.int64)}, TypeError, "segments must be floating point"),
        ({"scores": torch.zeros(2, dtype=torch.int64)}, TypeError, "scores must be floating point"),
        ({"labels": torch.zeros(2)}, TypeError, "labels must be integer, got torch.float32"),
        ({"video_index": torch.zeros(2, dtype=torch.bool)}, TypeError, "video_index must be integer"),
        ({"scores": torch.tensor([0.5, float("nan")])}, ValueError, r"scores\[1\] is nan"),
        ({"scores": torch.tensor([float("inf"), 0.1])}, ValueError, r"scores\[0\] is inf"),
        ({"segments": torch.tensor([[0, 1], [float("nan"), 2]])}, ValueError, r"segments\[1\] is \[nan, 2.0\]"),
        ({"segments": torch.tensor([[0, float("inf")], [1.0, 2]])}, ValueError, r"segments\[0\] is \[0.0, inf\]"),
        ({"method": "soft"}, ValueError, "method must be one of hard, linear, gaussian, got 'soft'"),
        ({"sigma": 0.0}, ValueError, "sigma must be positive"),
        ({"iou_threshold": 0.0, "method": "hard"}, ValueError, r"iou_threshold must lie in \(0, 1\]"),
        ({"min_score": -0.1}, ValueError, "min_score must be at least 0"),
        ({"min_score": float("nan")}, ValueError, "min_score must be at least 0"),
        ({"voting_threshold": 1.5}, ValueError, "voting_threshold must lie in"),
        ({"num_videos": 0, "video_index": torch.tensor([0, 0])}, ValueError, "num_videos must be at least 1"),
        ({"num_videos": 2}, ValueError, "num_videos=2 needs video_index"),
        ({"num_videos": 2, "video_index": torch.tensor([0, 2])}, ValueError, r"video_index\[1\] is 2.*0 to 1"),
        ({"num_videos": 2, "video_index": torch.tensor([-1, 0])}, ValueError, r"video_index\[0\] is -1"),
        ({"scores": torch.zeros(2, device="meta")}, ValueError, "segments is on cpu but scores on meta"),
    ],
)
def test_bad_input(changed: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        soft_nms(**{**GOOD, **changed})


def op_arguments(labels: bool, videos: bool, max_segments: int = 20) -> Operands:
    segments, scores, of_class, of_video = scene(60)
    return Operands(
        segments=segments,
        scores=scores,
        labels=of_class if labels else None,
        video_index=of_video if videos else None,
        method="gaussian",
        sigma=0.5,
        iou_threshold=0.1,
        min_score=0.001,
        max_segments=max_segments,
        voting_threshold=0.5,
        keep_best=True,
    )


@pytest.mark.parametrize("grouped", [False, True])
def test_registration(implementation: str, grouped: bool) -> None:
    given = op_arguments(labels=grouped, videos=grouped)
    for num_videos in (0, 3) if grouped else (0,):
        checks.opcheck(torch.ops.asl_fast.soft_nms.default, *given._replace(num_videos=num_videos))


def test_padded_result_compiles(implementation: str) -> None:
    def function(*args: Any) -> tuple[Tensor, ...]:
        indices, segments, scores, count = torch.ops.asl_fast.soft_nms(*args)
        return indices, segments * 2, scores, count

    for max_segments, rows in ((20, 20), (500, 60), (0, 60)):
        args = op_arguments(labels=True, videos=False, max_segments=max_segments)
        expected = function(*args)
        torch._dynamo.reset()
        found = torch.compile(function, fullgraph=True, backend="aot_eager")(*args)
        assert found[0].shape == (rows,)
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one, other)
        count = int(expected[3])
        assert bool((expected[0][count:] == -1).all()) and bool((expected[1][count:] == 0).all())


@pytest.mark.parametrize("scale", [1.0, 1e6], ids=["seconds", "microseconds"])
@pytest.mark.parametrize("voting", [None, 0.7])
@pytest.mark.parametrize("method", METHODS)
def test_float64_times_far_from_zero_are_those_shifted_to_it(
    implementation: str, method: Any, voting: float | None, scale: float
) -> None:
    """Two videos on Unix time, years apart, give what they give from 0 on: float32 would hold neither."""
    random = np.random.default_rng(0)
    start = np.round(random.uniform(0, 60, (200, 1)), 2)
    segments = torch.from_numpy(scale * np.hstack([start, start + np.round(random.uniform(0.5, 9, (200, 1)), 2)]))
    video = torch.arange(200) % 2
    scores = torch.from_numpy(random.permutation(200) / 200)
    offset = (scale * torch.tensor([1.7e9, 1.2e9], dtype=torch.float64))[video][:, None]
    options: dict[str, Any] = {"method": method, "voting_threshold": voting, "video_index": video, "max_segments": 0}
    expected = soft_nms(segments, scores, **options)
    result = soft_nms(segments + offset, scores, **options)
    assert result.indices.tolist() == expected.indices.tolist()
    torch.testing.assert_close(result.scores, expected.scores, rtol=1e-5, atol=1e-7)
    shifted = result.segments - offset[result.indices]
    torch.testing.assert_close(shifted, expected.segments, rtol=0, atol=1e-4 * scale)
