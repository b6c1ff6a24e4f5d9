# SPDX-License-Identifier: Apache-2.0
"""The Triton contrastive loss equals the float64 reference, forward and backward, and stays within its buffers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", minversion="3.5")

import triton
import triton.language as tl
from asl_fast.kernels import (
    _contrastive_similarity_tiles,
    _launch,
    contrastive_similarity,
    contrastive_similarity_backward,
)

from tests.kernels import contrastive_similarity_cases as cases
from tests.kernels.contrastive_similarity_cases import Passes, SharedTests, compare, scene
from tests.kernels.fences import fenced


def launchers() -> Passes:
    forward = contrastive_similarity.contrastive_similarity_loss
    return Passes(forward, contrastive_similarity_backward.contrastive_similarity_loss_backward)


@pytest.fixture
def passes() -> Iterator[Passes]:
    with fenced():
        yield launchers()


class TestAsEveryKernel(SharedTests):
    pass


class TestWithKeptSimilarities(SharedTests):
    @pytest.fixture
    def passes(self) -> Iterator[Passes]:
        with fenced():
            yield launchers()._replace(keep_similarities=True)


@pytest.mark.parametrize("keep", [False, True])
def test_float64_stays(passes: Passes, keep: bool) -> None:
    given = scene((5, 6), 7, torch.float64)
    compare(passes._replace(keep_similarities=keep), given._replace(segments=given.segments.double()))


# Tiles have 64 vectors and 32 or 16 channels; the keys are divided among programs. The low temperature needs maxima.
@pytest.mark.parametrize(
    ("counts", "channels", "temperature"), [((22,), 1, 0.07), ((40, 3), 48, 0.07), ((9, 30), 100, 0.02)]
)
@pytest.mark.parametrize("keep", [False, True])
def test_tails_of_tiles(passes: Passes, counts: tuple[int, ...], channels: int, temperature: float, keep: bool) -> None:
    passes = passes._replace(keep_similarities=keep)
    compare(passes, scene(counts, channels, seed=5)._replace(temperature=temperature))


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("temperature", [0.07, 0.02])
def test_many_tiles_of_one_program(
    passes: Passes, temperature: float, keep: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many vectors have them: gradients wait in memory from one tile to the next."""
    monkeypatch.setattr(_contrastive_similarity_tiles, "SLOTS", 1)
    compare(passes._replace(keep_similarities=keep), scene((40, 13), 40, seed=6)._replace(temperature=temperature))


def test_two_launches_each_way(monkeypatch: pytest.MonkeyPatch) -> None:
    launched = []
    launch = _launch.launch

    def note(kernel: object, *arguments: object, **options: object) -> None:
        launched.append(kernel)
        launch(kernel, *arguments, **options)

    monkeypatch.setattr(_launch, "launch", note)
    cases.run(launchers(), 4)
    assert len(launched) == 4


def test_buffers_grow_linearly_with_the_instances() -> None:
    cases.check_buffers_grow_linearly(launchers(), fenced)


def test_few_vectors_have_a_bounded_number_of_parts() -> None:
    """So that scratch memory is bounded, or linear; and a call with more room has programs for all of its parts."""
    programs, slots = _contrastive_similarity_tiles.programs, _contrastive_similarity_tiles.SLOTS
    assert all(programs(blocks, blocks, slots) <= max(blocks, slots) for blocks in range(1, 1000))
    for blocks in range(1, 400):
        parts = min(blocks, max(slots // blocks, 1))  # as parts_of has it on the device
        assert blocks * parts <= min(programs(room, room, slots) for room in (blocks, blocks + 1, 2 * blocks, 400))


@triton.jit
def split_kernel(x_ptr, high_ptr, low_ptr, count, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    high, low = _contrastive_similarity_tiles.split(tl.load(x_ptr + at, mask=at < count, other=0.0))
    tl.store(high_ptr + at, high, mask=at < count)
    tl.store(low_ptr + at, low, mask=at < count)


def in_tf32(x: Tensor) -> Tensor:
    """Return what a tensor core sees of float32: the first 11 of its 24 bits."""
    return (x.view(torch.int32) & -8192).view(torch.float32)


@pytest.mark.parametrize("channels", [4, 64, 512])
def test_products_of_split_factors_are_as_exact_as_float32(channels: int) -> None:
    """The interpreter multiplies in full precision, so what TF32 drops is dropped here.

    Cosines of 300 vectors, a third of them nearly parallel to others. Three products of halves lose up to 3e-7 against
    float64, and summed in float32 no more than a product in float32 does; a single product in TF32 loses 7e-4.
    """
    drawn = torch.randn(300, channels, generator=torch.Generator().manual_seed(0))
    drawn[200:] = drawn[:100] + 0.01 * drawn[200:]
    vectors = torch.nn.functional.normalize(drawn, dim=-1)
    high, low = torch.empty_like(vectors), torch.empty_like(vectors)
    split_kernel[(triton.cdiv(vectors.numel(), 1024),)](vectors, high, low, vectors.numel(), BLOCK=1024)
    assert torch.equal(high + low, vectors) and torch.equal(in_tf32(high), high)
    assert bool((low.abs() <= 2.0**-11 * vectors.abs()).all())
    low = in_tf32(low)
    exact = vectors.double() @ vectors.double().T
    halves = high.double() @ high.double().T + high.double() @ low.double().T + low.double() @ high.double().T
    assert float((halves - exact).abs().max()) < 3e-7
    summed = (low @ high.T + high @ low.T) + high @ high.T
    plain = float((vectors @ vectors.T - exact).abs().max())
    assert float((summed - exact).abs().max()) < plain + 3e-7 < 1e-6
    assert float((high.double() @ high.double().T - exact).abs().max()) > 2e-5
