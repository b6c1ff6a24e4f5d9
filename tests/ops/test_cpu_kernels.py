# SPDX-License-Identifier: Apache-2.0
"""What the C++ losses and assignment promise: digits, the same bits for any number of threads, whole outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from asl_fast import (
    RaggedTargets,
    assign_points,
    backend,
    diou_loss,
    native,
    segment_diou,
    segment_diou_ragged,
    segment_iou,
    sensitivity_focal_loss,
)
from tests.ops import checks

pytestmark = pytest.mark.skipif(native.cpu_module() is None, reason=str(native.why_missing()))


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


RAGGED = (torch.tensor([0, 1000, 1000, 1030, 1100]), torch.tensor([0, 900, 960, 1000, 1100]))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def segments(*shape: int, seed: int) -> Tensor:
    start = 50 * torch.rand(*shape, generator=generator(seed))
    return torch.stack((start, start + 10 * torch.rand(*shape, generator=generator(seed + 1)) - 1), dim=-1)


def targets(seed: int, counts: tuple[int, ...] = (300, 0, 17, 64, 65), length: float = 2300.0) -> RaggedTargets:
    videos = []
    for count in counts:
        start = torch.rand(count, generator=generator(seed)) * length - 5
        size = torch.rand(count, generator=generator(seed + 1)) ** 4 * length / 4
        rows = torch.stack((start, start + size), dim=-1)
        rows[: count // 2] = (rows[: count // 2] * 2).round() / 2  # ties of length, boundaries on points
        videos.append((rows, torch.randint(20, (count,), generator=generator(seed + 2))))
    return RaggedTargets.from_list(videos)


def pyramid(length: int = 2304) -> Tensor:
    levels = []
    for level, (low, high) in enumerate(pairwise((0, 4, 8, 16, 32, 64, 10000))):
        time = torch.arange(0, length, 2**level, dtype=torch.float32)
        levels.append(torch.stack((time, *(torch.full_like(time, v) for v in (low, high, 2**level))), dim=-1))
    return torch.cat(levels)


def large_problems() -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """Every op on inputs large enough for several threads and for chunks that do not divide them."""
    logits = (4 * torch.randn(40009, 21, generator=generator(0))).requires_grad_()
    ids = torch.randint(-1, 21, (40009,), generator=generator(1))
    weights = torch.rand(40009, generator=generator(2)).requires_grad_()
    mask = torch.rand(40009, generator=generator(3)) < 0.8
    pred, target = (4 * torch.rand(1000001, 2, generator=generator(seed)) for seed in (4, 5))
    rows = torch.rand(1000001, generator=generator(6)).requires_grad_()
    a, b = (segments(1100, seed=seed).requires_grad_() for seed in (7, 9))
    return {
        "focal mean": (lambda x, w: sensitivity_focal_loss(x, ids, w, mask, reduction="mean"), (logits, weights)),
        "focal none": (lambda x, w: sensitivity_focal_loss(x, ids, w, mask), (logits, weights)),
        "diou": (
            lambda p, t, w: diou_loss(p, t, w, reduction="sum"),
            (pred.requires_grad_(), target.requires_grad_(), rows),
        ),
        "pairs": (segment_diou, (a, b)),
        "aligned": (lambda x, y: segment_iou(x, y, aligned=True), (pred, target)),
        "ragged": (lambda x, y: segment_diou_ragged(x, y, *RAGGED, max_pairs=1100 * 1100).values, (a, b)),
        "assign": (
            lambda p: torch.cat([part.flatten().double() for part in assign_points(p, targets(11, (40,) * 21), 20)]),
            (pyramid(),),
        ),
    }


PROBLEMS = ("focal mean", "focal none", "diou", "pairs", "aligned", "ragged", "assign")


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_same_bits_for_any_number_of_threads(problem: str, threads: Callable[[int], None]) -> None:
    function, arguments = large_problems()[problem]
    results = []
    with backend("cpu"):
        for count in (1, 2, 3):
            threads(count)
            value, grads = checks.value_and_grads(function, *arguments)
            results.append([value, *grads])
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert torch.equal(one, two)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_every_element_of_every_output_is_written(problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function, arguments = large_problems()[problem]
    with backend("cpu"):
        plain, plain_grads = checks.value_and_grads(function, *arguments)
        empty = torch.empty
        poisoned: list[Tensor] = []

        def poison(*size: Any, **options: Any) -> Tensor:
            poisoned.append(empty(*size, **options).fill_(-123 if options.get("dtype") == torch.int64 else torch.nan))
            return poisoned[-1]

        monkeypatch.setattr(torch, "empty", poison)
        found, grads = checks.value_and_grads(function, *arguments)
    assert poisoned
    for one, two in zip([found, *grads], [plain, *plain_grads], strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("target", [0.0, 1.0, 0.3])
def test_focal_loss_has_float64_digits_over_the_whole_range(target: float) -> None:
    # exp, log1p and 20 operations in float32: about 10 roundings of 6e-8 each.
    x = torch.linspace(-40, 40, 40001)[:, None].requires_grad_()
    t = torch.full_like(x, target)
    with backend("cpu"):
        loss, (slope,) = checks.value_and_grads(lambda y: sensitivity_focal_loss(y, t), x)
    with backend("reference"):
        wide = x.detach().double().requires_grad_()
        expected, (expected_slope,) = checks.value_and_grads(lambda y: sensitivity_focal_loss(y, t.double()), wide)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=1e-38)
    # The slope of a soft target crosses zero.
    torch.testing.assert_close(slope.double(), expected_slope, rtol=2e-6, atol=1e-38 if target in (0, 1) else 1e-7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("other", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_mixture_of_dtypes_is_that_of_the_reference(dtype: torch.dtype, other: torch.dtype) -> None:
    logits = torch.randn(37, 5, generator=generator(12)).to(dtype).requires_grad_()
    soft = torch.rand(37, 5, generator=generator(13)).to(other)
    weights = torch.rand(37, generator=generator(14)).to(other).requires_grad_()
    pred = torch.rand(37, 2, generator=generator(15)).to(dtype).requires_grad_()
    target = torch.rand(37, 2, generator=generator(16)).to(other).requires_grad_()
    wide = torch.float64 in (dtype, other)
    for function, arguments in (
        (lambda x, w: sensitivity_focal_loss(x, soft, w, reduction="sum"), (logits, weights)),
        (lambda p, t, w: diou_loss(p, t, w, reduction="sum"), (pred, target, weights)),
        (segment_diou, (pred, target)),
    ):
        results = []
        for name in ("cpu", "reference"):
            with backend(name):
                value, grads = checks.value_and_grads(function, *arguments)
            results.append([value, *grads])
        for found, expected in zip(*results, strict=True):
            assert found.dtype == expected.dtype
            # 40 roundings of the computation, and the last one, which may fall to the other side.
            computed = torch.finfo(torch.float64 if wide else torch.float32)
            tolerance = 40 * computed.eps + 2 * torch.finfo(found.dtype).eps
            torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("radius", [1.5, 0.3, None])
@pytest.mark.parametrize("seed", range(3))
def test_assignment_has_the_bits_of_the_reference(seed: int, radius: float | None, dtype: torch.dtype) -> None:
    drawn = targets(20 + seed)
    ragged = drawn._replace(segments=drawn.segments.to(dtype))
    points = pyramid().to(dtype)
    for order in (torch.arange(len(points)), torch.randperm(len(points), generator=generator(seed))[:500]):
        results = []
        for name in ("cpu", "reference"):
            with backend(name):
                results.append(assign_points(points[order], ragged, 20, center_sampling_radius=radius))
        assert int(results[0].positive.sum()) > 5
        for found, expected in zip(*results, strict=True):
            assert torch.equal(found, expected)


TINY = (0.0, 1e-45, 1e-40, 1.2e-38, 3e-38, 1.0, 1e38, float("inf"), -float("inf"))
ODD = torch.tensor([(start, end) for start in TINY for end in TINY if end >= start])


@pytest.mark.parametrize("operator", [segment_iou, segment_diou], ids=["iou", "diou"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_of_denormal_lengths_and_infinite_bounds_follow_one_rule(operator: Any, dtype: torch.dtype) -> None:
    """Below the least normal number there is no length to divide by; what is left agrees, where it is NaN too."""
    a, b = ODD.to(dtype).repeat_interleave(len(ODD), 0), ODD.to(dtype).repeat(len(ODD), 1)

    def gradients(name: str) -> list[torch.Tensor]:
        sides = [side.clone().requires_grad_() for side in (a, b)]
        with backend(name):
            return list(torch.autograd.grad(operator(*sides, aligned=True).sum(), sides))

    lengths = torch.minimum(a[:, 1] - a[:, 0], b[:, 1] - b[:, 0]).nan_to_num(0.0).clamp(min=torch.finfo(dtype).tiny)
    for ours, theirs in zip(gradients("cpu"), gradients("reference"), strict=True):
        assert torch.equal(ours.isnan(), theirs.isnan())
        assert torch.equal(ours.isinf(), theirs.isinf())
        usual = theirs.isfinite()
        # Where the exact value is 0, rounding of one over the length is left.
        allowed = 1e-5 * theirs.abs() + 1e-6 / lengths[:, None]
        assert bool(((ours - theirs).abs() <= allowed)[usual].all())
        assert int(usual.sum()) > len(ODD)
