# SPDX-License-Identifier: Apache-2.0
"""Scenes of the contrastive loss and what every kernel of it is asked on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from asl_fast.reference import contrastive_similarity as reference

DELTA, TEMPERATURE, WEIGHT = 0.2, 0.07, 0.3
Given = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


class Passes(NamedTuple):
    """Both launchers of an implementation, and where they take their tensors."""

    forward: Callable[..., tuple[Tensor, ...]]
    backward: Callable[..., tuple[Tensor, ...]]
    device: torch.device = torch.device("cpu")


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


def compare(passes: Passes, given: Given, temperature: float = TEMPERATURE, delta: float = DELTA) -> tuple[Tensor, ...]:
    """Both passes against the float64 reference; returns the gradients, on the CPU."""
    dtype = torch.float64 if given[0].dtype == torch.float64 else torch.float32
    base, *upper = (torch.tensor(value, dtype=dtype) for value in (1.5, 0.9, 0.4))
    place = [x.to(passes.device) for x in (base, *upper, *given)]
    found = passes.forward(*place[3:], place[0], delta, temperature, WEIGHT)
    grads = passes.backward(*place[1:], *found[2:], temperature, WEIGHT, True, True)
    found, grads = (tuple(x.cpu() for x in results) for results in (found, grads))
    expected = reference.contrastive_similarity_forward(*wide(given), base.double(), delta, temperature, WEIGHT)
    wanted = reference.contrastive_similarity_backward(
        *wide(tuple(upper)), *wide(given), *expected[2:], temperature, WEIGHT, True, True
    )
    assert torch.equal(found[4], expected[4]), "ranges, videos and states"
    assert float(found[5]) == float(expected[5]), "anchors"
    # A cosine is right to some 1e-6, its exponent to 1 / temperature times as much. Gradients are differences of two
    # shares of up to 1 / temperature, over the length of a vector.
    tolerance = 1e-6 + 3e-7 / temperature
    for one, other in zip((*found[:3], found[3][1:]), (*expected[:3], expected[3][1:]), strict=True):
        torch.testing.assert_close(one.double(), other, rtol=tolerance, atol=4 * tolerance)
    inverse_length = max([1.0, *expected[3][0].flatten().tolist()])
    for one, other, like in zip(grads, wanted, (given[0], *given[5:]), strict=True):
        assert one.dtype == like.dtype and one.shape == like.shape and one.is_contiguous()
        size = float(other.abs().max()) if other.numel() else 0.0
        atol = (10 * tolerance + torch.finfo(one.dtype).eps) * size + 3e-8 / temperature * inverse_length
        torch.testing.assert_close(one.double(), other, rtol=torch.finfo(one.dtype).eps, atol=atol)
    return grads


def check_masked_frames_may_hold_anything(passes: Passes) -> None:
    features, mask, *rest = scene((5, 8), 9, seed=2)
    poisoned = torch.where(mask[..., None], features, torch.nan)
    grads = compare(passes, (poisoned, mask, *rest))
    assert torch.count_nonzero(grads[0][~mask]) == 0


def check_vectors_of_length_zero(passes: Passes) -> None:
    features, *rest = scene((5, 8), 9, seed=3)
    features[0, 5:25] = 0
    assert all(bool(x.isfinite().all()) for x in compare(passes, (features, *rest)))


def check_gradients_that_are_not_needed(passes: Passes) -> None:
    """They are empty, the others have the bits they have when all are needed; an absent gradient counts as 0."""
    given = tuple(x.to(passes.device) for x in scene((5, 6), 8))
    total, loss, *saved = passes.forward(*given, None, DELTA, TEMPERATURE, WEIGHT)
    torch.testing.assert_close(total, WEIGHT * loss)
    rest = (*given, *saved, TEMPERATURE, WEIGHT)
    both = [passes.backward(loss, None, *rest, features, not features) for features in (True, False)]
    whole = passes.backward(loss, None, *rest, True, True)
    assert [x.numel() for x in both[0][1:]] == [0, 0] and both[1][0].numel() == 0
    for one, other in zip((both[0][0], *both[1][1:]), whole, strict=True):
        assert torch.equal(one, other)
    for one, other in zip(passes.backward(None, loss, *rest, True, True), whole, strict=True):
        torch.testing.assert_close(one * WEIGHT, other)


def run(passes: Passes, count: int) -> list[Tensor]:
    """Results and gradients of two videos of ``count`` instances."""
    given = tuple(x.to(passes.device) for x in scene((count, count), 6))
    total, *saved = passes.forward(*given, None, DELTA, TEMPERATURE, WEIGHT)
    grads = passes.backward(total, None, *given, *saved[1:], TEMPERATURE, WEIGHT, True, True)
    return [total, *saved, *grads]
