# SPDX-License-Identifier: Apache-2.0
"""What every GPU implementation of soft-NMS is compared on: schema arguments, and the reference's padded result."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor

from asl_fast.ops import _dispatch
from asl_fast.reference.soft_nms import METHODS, Operands
from tests.shared import golden_arrays

Arguments = Operands
Padded = tuple[Tensor, Tensor, Tensor, Tensor]
Run = Callable[..., Padded]


def runner(function: Run, device: torch.device) -> Run:
    """Make ``function`` take CPU tensors, computed on ``device``, with CPU results."""

    def run(given: Operands) -> Padded:
        found = function(Operands(*(x.to(device) if isinstance(x, Tensor) else x for x in given)))
        indices, segments, scores, count = (x.cpu() for x in found)
        return indices, segments, scores, count

    return run


def scene(
    count: int,
    *,
    labels: int | None = None,
    videos: int | None = None,
    seed: int = 0,
    span: float = 60.0,
    coarse: bool = False,
    lowest: float = 0.0,
    method: str = "gaussian",
    sigma: float = 0.5,
    iou_threshold: float = 0.3,
    min_score: float = 0.001,
    max_segments: int = 20,
    voting_threshold: float = 0.0,
    keep_best: bool = True,
    num_videos: int = 0,
) -> Arguments:
    """Arguments of the schema: ``count`` segments over ``span``; coarse: many equal scores, empty and reversed ones."""
    generator = torch.Generator().manual_seed(seed)
    start, length = span * torch.rand(count, generator=generator), 9 * torch.rand(count, generator=generator)
    scores = lowest + (1 - lowest) * torch.rand(count, generator=generator)
    if coarse:
        start, length, scores = start.round(), (length - 2).round(), (4 * scores).round() / 4
    of_class = torch.randint(-1, labels - 1, (count,), generator=generator) if labels is not None else None
    of_video = torch.randint(videos, (count,), generator=generator) if videos is not None else None
    return Operands(
        segments=torch.stack((start, start + length), -1),
        scores=scores,
        labels=of_class,
        video_index=of_video,
        method=method,
        sigma=sigma,
        iou_threshold=iou_threshold,
        min_score=min_score,
        max_segments=max_segments,
        voting_threshold=voting_threshold,
        keep_best=keep_best,
        num_videos=num_videos,
    )


class Case(NamedTuple):
    """A scene by name."""

    name: str
    count: int
    options: dict[str, Any]

    def arguments(self) -> Arguments:
        return scene(self.count, **self.options)


CASES = [
    Case("none", 0, {"labels": 2, "videos": 2, "voting_threshold": 0.5}),
    Case("one", 1, {}),
    Case("one below min_score", 1, {"min_score": 2.0}),
    Case("a chunk", 32, {"max_segments": 0}),
    Case("a chunk and one", 33, {"max_segments": 0, "method": "linear"}),
    *(
        Case(f"{method}, videos and classes", 400, {"labels": 5, "videos": 3, "method": method})
        for method in ("gaussian", "linear", "hard")
    ),
    *(
        Case(f"{method}, ties", 200, {"labels": 3, "videos": 2, "method": method, "coarse": True, "max_segments": 0})
        for method in ("gaussian", "linear", "hard")
    ),
    Case("ties and min_score 0", 150, {"coarse": True, "min_score": 0.0, "max_segments": 0}),
    Case("one group of thousands", 3000, {"span": 200.0, "max_segments": 40}),
    Case("crowded, no limit", 500, {"span": 20.0, "max_segments": 0, "sigma": 0.05, "min_score": 1e-4}),
    Case("many tiny groups", 300, {"labels": 100, "videos": 40, "max_segments": 0}),
    Case("videos of one class each", 300, {"videos": 7, "max_segments": 5}),
    Case("most below min_score", 700, {"labels": 60, "videos": 2, "min_score": 0.97, "max_segments": 50}),
    Case("all below min_score", 400, {"labels": 30, "min_score": 1.5, "max_segments": 0, "coarse": True}),
    Case("all below min_score, the limit", 400, {"labels": 30, "min_score": 1.5, "max_segments": 7}),
    Case("all below min_score, agnostic", 400, {"videos": 3, "min_score": 1.5}),
    Case("all below min_score, dropped", 90, {"labels": 3, "videos": 2, "min_score": 1.5, "keep_best": False}),
    Case("negative scores", 90, {"labels": 9, "lowest": -1.0, "coarse": True, "max_segments": 0}),
    Case("known videos", 400, {"labels": 5, "videos": 3, "num_videos": 3}),
    Case("known videos, no limit", 90, {"labels": 5, "videos": 3, "num_videos": 3, "max_segments": 0}),
    Case("known videos, some without candidates", 60, {"videos": 40, "num_videos": 300, "max_segments": 2}),
    Case("known videos, 40,000 of them", 60, {"videos": 40_000, "num_videos": 40_000, "voting_threshold": 0.5}),
    Case("known videos, candidates of others", 200, {"videos": 9, "num_videos": 5, "max_segments": 3}),
    Case("known videos, candidates of others alone", 1, {"videos": 9, "num_videos": 1, "seed": 1}),
    Case("voting", 300, {"labels": 3, "videos": 2, "voting_threshold": 0.6}),
    Case("voting, agnostic", 300, {"videos": 2, "voting_threshold": 0.1, "coarse": True, "max_segments": 0}),
    Case("voting, hard, one video", 200, {"voting_threshold": 0.9, "method": "hard"}),
]


def compare(arguments: Arguments, run: Run) -> None:
    """Assert the same rows, scores and padding, bit for bit; voted segments up to the order of float64 sums."""
    expected = _dispatch.load("soft_nms", "reference")(arguments)
    found = run(arguments)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype and one.is_contiguous()
    assert int(found[3]) == int(expected[3])
    assert torch.equal(found[0], expected[0]) and torch.equal(found[2], expected[2])
    rtol = 2e-7 if arguments.voting_threshold > 0 else 0
    torch.testing.assert_close(found[1], expected[1], rtol=rtol, atol=1e-30 if rtol else 0)


GOLDEN = ("soft_nms_n64", "soft_nms_n500", "soft_nms_edge", "batched_nms_c20_n300")


def golden(name: str, most: int = 3) -> Iterator[Arguments]:
    """Read some configurations of golden files that tests/ops/test_soft_nms.py compares with ActionFormer's results."""
    data = golden_arrays(name)
    configs = json.loads(str(data["configs"]))
    for config in configs[:: -(-len(configs) // most)]:
        prefix = config["case"] + "__" if name == "soft_nms_edge" else ""
        labels = torch.from_numpy(data["labels"]).long() if config.get("multiclass") else None
        method = METHODS[config.get("method", 2 if config.get("use_soft_nms", True) else 0)]
        yield Operands(
            segments=torch.from_numpy(data[prefix + "segs"]).float(),
            scores=torch.from_numpy(data[prefix + "scores"]).float(),
            labels=labels,
            video_index=None,
            method=method,
            sigma=config["sigma"],
            iou_threshold=config["iou_threshold"],
            min_score=config["min_score"],
            max_segments=60,
            voting_threshold=0.0 if config.get("multiclass") else config.get("voting_thresh", 0.0),
            keep_best=True,
        )


def compare_not_finite(run: Run) -> None:
    """Assert that a NaN score is never kept, a NaN segment overlaps nothing and has no vote, infinity is largest."""
    nan, inf = math.nan, math.inf
    segments = torch.tensor([[0.0, 10], [nan, 9], [1.0, nan], [0.0, 8], [nan, nan], [40.0, 50.0]])
    scores = torch.tensor([0.9, 0.8, 0.7, nan, 0.6, inf])
    options = {"sigma": 0.5, "iou_threshold": 0.1, "min_score": 0.001, "max_segments": 0, "keep_best": True}
    for method in METHODS:
        given = Operands(segments, scores, None, None, method, voting_threshold=0.5, **options)  # type: ignore[arg-type]
        indices, moved, found, count = run(given)
        assert int(count) == 5 and indices.tolist() == [5, 0, 1, 2, 4, -1]
        assert torch.equal(found, torch.tensor([inf, 0.9, 0.8, 0.7, 0.6, 0.0]))
        assert torch.equal(moved[1:5], segments[[0, 1, 2, 4]].float()) or bool(moved[2:5].isnan().any())
        assert moved[1].tolist() == [0.0, 10.0]
    for labels in (None, torch.tensor([0, 0])):
        scores = torch.tensor([nan, nan])
        given = Operands(segments[:2], scores, labels, None, "gaussian", voting_threshold=0.0, **options)  # type: ignore[arg-type]
        count = run(given)[3]
        assert int(count) == 0


def compare_layouts(run: Run, count: int = 120) -> None:
    """Lower precision and strided tensors give what their contiguous float32 values give."""
    given = scene(count, labels=3, videos=2)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        low = given._replace(segments=given.segments.to(dtype), scores=given.scores.to(dtype))
        expected = run(low._replace(segments=low.segments.float(), scores=low.scores.float()))
        found = run(low)
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    expected = run(given)
    columns = ("scores", "labels", "video_index")
    strided = {name: getattr(given, name).repeat_interleave(2)[::2] for name in columns}
    found = run(given._replace(segments=given.segments.T.contiguous().T, **strided))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


# Coarse values, so that ties, touching, identical, empty and reversed segments are common; fine ones for the roundings.
BOUNDARY = st.one_of(st.integers(-8, 24).map(lambda x: x / 4), st.floats(-100, 100, width=32))
SCORE = st.one_of(st.sampled_from([0.0, -0.0, 0.001, 0.5, 1.0]), st.floats(-1, 1, width=32))


@st.composite
def drawn(draw: st.DrawFn) -> Arguments:
    """Up to 60 candidates and any options but voting."""
    count, repeat = draw(st.integers(0, 20)), draw(st.sampled_from([1, 1, 3]))

    def column(values: st.SearchStrategy[Any], dtype: torch.dtype, *shape: int) -> Tensor:
        total = count * math.prod(shape)
        values_drawn = draw(st.lists(values, min_size=total, max_size=total))
        return torch.tensor(values_drawn, dtype=dtype).reshape(count, *shape).repeat(repeat, *[1] * len(shape))

    video_index = column(st.integers(0, 2), torch.int64) if draw(st.booleans()) else None
    return Operands(
        segments=column(BOUNDARY, torch.float32, 2),
        scores=column(SCORE, torch.float32),
        labels=column(st.integers(-1, 1), torch.int64) if draw(st.booleans()) else None,
        video_index=video_index,
        method=draw(st.sampled_from(METHODS)),
        sigma=draw(st.sampled_from([0.5, 0.9, 1e-3, 1e3, 1e-30])),
        iou_threshold=draw(st.sampled_from([0.1, 0.5, 1.0, 1e-6])),
        min_score=draw(st.sampled_from([0.0, 0.001, 0.01, 0.5])),
        max_segments=draw(st.sampled_from([0, 1, 3, 200])),
        voting_threshold=0.0,
        keep_best=draw(st.booleans()),
        num_videos=0 if video_index is None else draw(st.sampled_from([0, 2, 3, 400])),
    )
