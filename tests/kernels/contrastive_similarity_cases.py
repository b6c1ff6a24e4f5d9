# SPDX-License-Identifier: Apache-2.0
"""Scenes of the contrastive loss and the tests that every kernel of it answers on them."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple, TypeVar

import pytest
import torch
from torch import Tensor

from asl_fast.reference import contrastive_similarity as reference
from asl_fast.reference.contrastive_similarity import BackwardOperands, BackwardOutputs, Operands, Outputs

Values = TypeVar("Values", Operands, BackwardOperands, Outputs, BackwardOutputs)


class Passes(NamedTuple):
    """Both launchers of an implementation, and where they take their tensors."""

    forward: Callable[[Operands], Outputs]
    backward: Callable[[BackwardOperands], BackwardOutputs]
    device: torch.device = torch.device("cpu")
    keep_similarities: bool = False


def scene(counts: tuple[int, ...], channels: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Operands:
    """Videos of 37 frames but the last, which has 21: instances inside one step, across ends, beyond, empty."""
    g = torch.Generator().manual_seed(seed)
    videos, count = len(counts), sum(counts)
    features = torch.randn(videos, 37, channels, generator=g).to(dtype)
    start = 44 * torch.rand(count, generator=g) - 5
    length = 12 * torch.rand(count, generator=g) ** 2 - 0.2
    return Operands(
        features=features,
        mask=torch.arange(37) < torch.tensor([37] * (videos - 1) + [21])[:, None],
        labels=torch.randint(4, (count,), generator=g),
        segments=torch.stack([start, start + length], -1),
        video_offsets=torch.tensor([0, *counts]).cumsum(0),
        mu=torch.tensor([0.0, -0.5, 0.5]).repeat(4, 1) + 0.2 * torch.randn(4, 3, generator=g),
        sigma=0.2 + torch.rand(4, 3, generator=g),
        base=None,
        delta=0.2,
        temperature=0.07,
        weight=0.3,
        keep_similarities=False,
    )


def each_tensor(change: Callable[[Tensor], Tensor], given: Values) -> Values:
    """Change every tensor of the operands."""
    return given._make(change(x) if isinstance(x, Tensor) else x for x in given)


def wide(given: Values) -> Values:
    """In float64."""
    return each_tensor(lambda x: x.double() if x.is_floating_point() else x, given)


def compare(passes: Passes, given: Operands) -> BackwardOutputs:
    """Both passes against the float64 reference, added to another loss; returns the gradients, on the CPU."""
    dtype = torch.float64 if given.features.dtype == torch.float64 else torch.float32
    base, grad_total, grad_loss = (torch.tensor(value, dtype=dtype) for value in (1.5, 0.9, 0.4))
    given = given._replace(base=base, keep_similarities=passes.keep_similarities)
    place = each_tensor(lambda x: x.to(passes.device), given)
    found = passes.forward(place)
    upper = {"grad_total": grad_total.to(passes.device), "grad_loss": grad_loss.to(passes.device)}
    grads = each_tensor(Tensor.cpu, passes.backward(place.backward(found, **upper)))
    found = each_tensor(Tensor.cpu, found)
    expected = reference.contrastive_similarity_loss(wide(given))
    backward = wide(given).backward(expected, grad_total=grad_total.double(), grad_loss=grad_loss.double())
    wanted = reference.contrastive_similarity_loss_backward(backward)
    assert torch.equal(found.ranges, expected.ranges), "ranges, videos and states"
    assert float(found.anchors) == float(expected.anchors)
    # A cosine is right to some 1e-6, its exponent to 1 / temperature times as much. Gradients are differences of two
    # shares of up to 1 / temperature, over the length of a vector.
    tolerance = 1e-6 + 3e-7 / given.temperature
    inverse_lengths = expected.stats[0]
    for one, other in (
        (found.total, expected.total),
        (found.loss, expected.loss),
        (found.vectors, expected.vectors),
        (found.stats[1:], expected.stats[1:]),
    ):
        torch.testing.assert_close(one.double(), other, rtol=tolerance, atol=4 * tolerance)
    inverse_length = max([1.0, *inverse_lengths.flatten().tolist()])
    for one, other, like in zip(grads, wanted, (given.features, given.mu, given.sigma), strict=True):
        assert one.dtype == like.dtype and one.shape == like.shape and one.is_contiguous()
        size = float(other.abs().max()) if other.numel() else 0.0
        atol = (10 * tolerance + torch.finfo(one.dtype).eps) * size + 3e-8 / given.temperature * inverse_length
        torch.testing.assert_close(one.double(), other, rtol=torch.finfo(one.dtype).eps, atol=atol)
    return grads


def run(passes: Passes, count: int) -> list[Tensor]:
    """Results and gradients of two videos of ``count`` instances."""
    given = each_tensor(lambda x: x.to(passes.device), scene((count, count), 6))
    found = passes.forward(given)
    return [*found, *passes.backward(given.backward(found, grad_total=found.total, grad_loss=None))]


def check_buffers_grow_linearly(passes: Passes, fence: Callable[[], AbstractContextManager[list[Tensor]]]) -> None:
    """Assert that memory is linear in the number of instances."""
    sizes = []
    for count in (2, 4, 8):
        with fence() as buffers:
            run(passes, count)
        sizes.append(sum(buffer.numel() for buffer in buffers))
    assert sizes[2] - sizes[1] <= 2.2 * (sizes[1] - sizes[0])


class SharedTests:
    """Tests of any implementation; a test module hands its launchers to them in the fixture ``passes``."""

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
    def test_equals_the_reference(self, passes: Passes, dtype: torch.dtype) -> None:
        compare(passes, scene((5, 0, 8), 40, dtype))

    @pytest.mark.parametrize("delta", [0.0, 0.45])
    @pytest.mark.parametrize("temperature", [0.01, 1.0])
    def test_ranges_and_temperatures(self, passes: Passes, delta: float, temperature: float) -> None:
        compare(passes, scene((6, 7), 5, seed=1)._replace(temperature=temperature, delta=delta))

    @pytest.mark.parametrize("count", [0, 1])
    def test_few_instances(self, passes: Passes, count: int) -> None:
        compare(passes, scene((0, count), 20, seed=4))

    def test_masked_frames_may_hold_anything(self, passes: Passes) -> None:
        given = scene((5, 8), 9, seed=2)
        grads = compare(passes, given._replace(features=torch.where(given.mask[..., None], given.features, torch.nan)))
        assert torch.count_nonzero(grads.grad_features[~given.mask]) == 0

    def test_vectors_of_length_zero(self, passes: Passes) -> None:
        given = scene((5, 8), 9, seed=3)
        given.features[0, 5:25] = 0
        assert all(bool(x.isfinite().all()) for x in compare(passes, given))

    # Padding changes the number of tiles, and in how many parts there are programs for them.
    @pytest.mark.parametrize(("counts", "channels", "padding"), [((5, 0, 8), 20, 3), ((30, 9), 16, 40), ((0, 0), 6, 2)])
    def test_padding_gives_the_same_bits(
        self, passes: Passes, counts: tuple[int, ...], channels: int, padding: int
    ) -> None:
        """Whatever its rows hold."""
        plain = scene(counts, channels, seed=8)._replace(base=torch.tensor(1.5))
        plain = plain._replace(keep_similarities=passes.keep_similarities)
        rows = torch.tensor([[2.0, 9.0], [math.nan, 3.0], [math.inf, 1.0], [0.0, 0.0]]).repeat(10, 1)[:padding]
        labels = torch.tensor([1, -1, 1000, 2]).repeat(10)[:padding]
        padded = plain._replace(segments=torch.cat([plain.segments, rows]), labels=torch.cat([plain.labels, labels]))
        grads, outputs = [], []
        for given in (plain, padded):
            place = each_tensor(lambda x: x.to(passes.device), given)
            outputs.append(passes.forward(place))
            upper = {"grad_total": outputs[-1].anchors, "grad_loss": None}
            grads.append(passes.backward(place.backward(outputs[-1], **upper)))
        expected = padded.outputs()
        expected.take(each_tensor(Tensor.cpu, outputs[0]), len(counts))
        if passes.keep_similarities:
            vectors, kept = 3 * sum(counts), outputs[1].similarities.cpu()
            expected.similarities.copy_(kept)
            assert not kept.isnan().any() and not kept[vectors:-3].any() and not kept[:-3, vectors:].any()
            if vectors:
                of_plain = outputs[0].similarities.cpu()
                for rows in (slice(vectors), slice(-3, None)):
                    assert torch.equal(kept[rows, :vectors], of_plain[rows, :vectors])
        for one, other in zip((*outputs[1], *grads[1]), (*expected, *grads[0]), strict=True):
            assert torch.equal(one.cpu(), other.cpu())

    def test_gradients_that_are_not_needed(self, passes: Passes) -> None:
        """They are empty, the others have the bits they have when all are needed; an absent gradient counts as 0."""
        given = each_tensor(lambda x: x.to(passes.device), scene((5, 6), 8))
        found = passes.forward(given)
        torch.testing.assert_close(found.total, given.weight * found.loss)
        through_total = given.backward(found, grad_total=found.loss, grad_loss=None)
        whole = passes.backward(through_total)
        features = passes.backward(through_total._replace(need_gaussians=False))
        gaussians = passes.backward(through_total._replace(need_features=False))
        assert [x.shape for x in (features.grad_mu, features.grad_sigma, gaussians.grad_features)] == [(0,)] * 3
        assert torch.equal(features.grad_features, whole.grad_features)
        assert torch.equal(gaussians.grad_mu, whole.grad_mu) and torch.equal(gaussians.grad_sigma, whole.grad_sigma)
        alone = passes.backward(given.backward(found, grad_total=None, grad_loss=found.loss))
        for one, other in zip(alone, whole, strict=True):
            torch.testing.assert_close(one * given.weight, other)
