# SPDX-License-Identifier: Apache-2.0
"""The Triton contrastive loss equals the float64 reference, forward and backward, and stays within its buffers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from asl_fast.kernels.contrastive_similarity import contrastive_similarity_forward
from asl_fast.kernels.contrastive_similarity_backward import contrastive_similarity_backward

from asl_fast.reference import contrastive_similarity as reference
from tests.kernels.fences import fenced

DELTA, TEMPERATURE, WEIGHT = 0.2, 0.07, 0.3
Given = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def scene(counts: tuple[int, ...], channels: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Given:
    """Videos of 37 frames but the last, which has 21: instances inside one step, across ends, beyond, empty."""
    g = torch.Generator().manual_seed(seed)
    videos, count = len(counts), sum(counts)
    features = torch.randn(videos, 37, channels, generator=g).to(dtype)
    mask = torch.arange(37) < torch.tensor([37] * (videos - 1) + [21])[:, None]
    start = 44 * torch.rand(count, generator=g) - 5
    length = 12 * torch.rand(count, generator=g) ** 2 - 0.2
    labels, offsets = torch.randint(4, (count,), generator=g), torch.tensor([0, *counts]).cumsum(0)
    mu = torch.tensor([0.0, -0.5, 0.5]).repeat(4, 1) + 0.2 * torch.randn(4, 3, generator=g)
    sigma = 0.2 + torch.rand(4, 3, generator=g)
    return features, mask, torch.stack([start, start + length], -1), labels, offsets, mu, sigma


def wide(given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.double() if x.is_floating_point() else x for x in given)


def compare(given: Given, temperature: float = TEMPERATURE, delta: float = DELTA) -> tuple[Tensor, ...]:
    """Both passes; returns the gradients."""
    with fenced():
        dtype = torch.float64 if given[0].dtype == torch.float64 else torch.float32
        base, *upper = (torch.tensor(value, dtype=dtype) for value in (1.5, 0.9, 0.4))
        found = contrastive_similarity_forward(*given, base, delta, temperature, WEIGHT)
        grads = contrastive_similarity_backward(*upper, *given, *found[2:], temperature, WEIGHT, True, True)
    expected = reference.contrastive_similarity_forward(*wide(given), base.double(), delta, temperature, WEIGHT)
    wanted = reference.contrastive_similarity_backward(
        *wide(tuple(upper)), *wide(given), *expected[2:], temperature, WEIGHT, True, True
    )
    assert torch.equal(found[4], expected[4]), "ranges, videos and states"
    assert float(found[5]) == float(expected[5]), "anchors"
    # A cosine is right to some 1e-6, its exponent to 1 / temperature times as much. Gradients are differences of two
    # shares of up to 1 / temperature.
    tolerance = 1e-6 + 3e-7 / temperature
    for one, other in zip((*found[:3], found[3][1:]), (*expected[:3], expected[3][1:]), strict=True):
        torch.testing.assert_close(one.double(), other, rtol=tolerance, atol=4 * tolerance)
    for one, other, like in zip(grads, wanted, (given[0], *given[5:]), strict=True):
        assert one.dtype == like.dtype and one.shape == like.shape and one.is_contiguous()
        size = float(other.abs().max()) if other.numel() else 0.0
        atol = (10 * tolerance + torch.finfo(one.dtype).eps) * size + 3e-8 / temperature
        torch.testing.assert_close(one.double(), other, rtol=torch.finfo(one.dtype).eps, atol=atol)
    return grads


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_equals_the_reference(dtype: torch.dtype) -> None:
    compare(scene((5, 0, 8), 40, dtype))


@pytest.mark.parametrize("delta", [0.0, 0.45])
@pytest.mark.parametrize("temperature", [0.01, 1.0])
def test_ranges_and_temperatures(delta: float, temperature: float) -> None:
    compare(scene((6, 7), 5, seed=1), temperature, delta)


def test_float64_stays() -> None:
    features, mask, segments, *rest = scene((5, 6), 7, torch.float64)
    compare((features, mask, segments.double(), *rest))


@pytest.mark.parametrize("count", [0, 1])
def test_few_instances(count: int) -> None:
    compare(scene((0, count), 20, seed=4))


def test_masked_frames_may_hold_anything() -> None:
    features, mask, *rest = scene((5, 8), 9, seed=2)
    poisoned = torch.where(mask[..., None], features, torch.nan)
    grads = compare((poisoned, mask, *rest))
    assert torch.count_nonzero(grads[0][~mask]) == 0


def test_vectors_of_length_zero() -> None:
    features, *rest = scene((5, 8), 9, seed=3)
    features[0, 5:25] = 0
    assert all(bool(x.isfinite().all()) for x in compare((features, *rest)))


def test_gradients_that_are_not_needed() -> None:
    given = scene((5, 6), 8)
    total, loss, *saved = contrastive_similarity_forward(*given, None, DELTA, TEMPERATURE, WEIGHT)
    torch.testing.assert_close(total, WEIGHT * loss)
    rest = (*given, *saved, TEMPERATURE, WEIGHT)
    both = [contrastive_similarity_backward(loss, None, *rest, features, not features) for features in (True, False)]
    whole = contrastive_similarity_backward(loss, None, *rest, True, True)
    assert [x.numel() for x in both[0][1:]] == [0, 0] and both[1][0].numel() == 0
    for one, other in zip((both[0][0], *both[1][1:]), whole, strict=True):
        assert torch.equal(one, other)


def test_buffers_grow_linearly_with_the_instances() -> None:
    sizes = []
    for count in (2, 4, 8):
        given = scene((count, count), 6)
        with fenced() as buffers:
            total, _, *saved = contrastive_similarity_forward(*given, None, DELTA, TEMPERATURE, WEIGHT)
            contrastive_similarity_backward(total, None, *given, *saved, TEMPERATURE, WEIGHT, True, True)
        sizes.append(sum(buffer.numel() for buffer in buffers))
    assert sizes[2] - sizes[1] <= 2.2 * (sizes[1] - sizes[0])
