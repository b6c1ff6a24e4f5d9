# SPDX-License-Identifier: Apache-2.0
"""The CUDA contrastive loss equals the float64 reference, in two launches each way, whatever the order of threads."""

from __future__ import annotations

import functools
import itertools

import pytest
import torch
from torch import Tensor

from asl_fast.backend import backend
from asl_fast.ops import _contrastive_similarity_native, _dispatch
from asl_fast.ops.contrastive_similarity import add_contrastive_similarity_loss
from asl_fast.ops.ragged import RaggedTargets
from tests.kernels import contrastive_similarity_cases as cases
from tests.kernels import cuda_on_host, fences
from tests.kernels.contrastive_similarity_cases import Passes, SharedTests, compare, each_tensor, scene


@pytest.fixture
def passes(cuda_device: torch.device) -> Passes:
    return Passes(_contrastive_similarity_native.cuda, _contrastive_similarity_native.cuda_backward, cuda_device)


class TestAsEveryKernel(SharedTests):
    pass


# Tiles have 32 rows, 128 keys, and 128, 256 or 512 channels; the keys are divided among blocks.
@pytest.mark.parametrize(
    ("counts", "channels"), [((70,), 1), ((3, 8), 129), ((40, 3), 300), ((1, 15), 520), ((2, 128), 2)]
)
def test_tails_of_tiles(passes: Passes, counts: tuple[int, ...], channels: int) -> None:
    compare(passes, scene(counts, channels, seed=5))


# Of 390 vectors in float64 a block meets more than one tile of keys.
@pytest.mark.parametrize(("counts", "channels"), [((5, 6), 7), ((10, 15), 70), ((2, 128), 1)])
def test_float64_stays(passes: Passes, counts: tuple[int, ...], channels: int) -> None:
    given = scene(counts, channels, torch.float64)
    compare(passes, given._replace(segments=given.segments.double()))


def test_an_instance_of_more_frames_than_a_block_has_threads(passes: Passes) -> None:
    given = scene((4, 2), 3, seed=6)
    given.segments[1], given.segments[5] = torch.tensor([20.0, 640.0]), torch.tensor([-30.0, 800.0])
    features = torch.randn(2, 700, 3, generator=torch.Generator().manual_seed(6))
    mask = torch.arange(700) < torch.tensor([[650], [700]])
    compare(passes, given._replace(features=features, mask=mask, delta=0.3))


def test_more_classes_than_a_block_has_threads(passes: Passes) -> None:
    given = scene((5, 8), 6)
    many = given._replace(labels=given.labels + 264, mu=given.mu.repeat(67, 1), sigma=given.sigma.repeat(67, 1))
    grad_mu = compare(passes, many).grad_mu
    assert not grad_mu[:264].any() and bool(grad_mu[264:].any())


def test_other_layouts_and_types_give_the_same_bits(passes: Passes) -> None:
    given = each_tensor(lambda x: x.to(passes.device), scene((5, 8), 9))
    expected = passes.forward(given)
    moved = each_tensor(lambda x: torch.stack((x, x), -1)[..., 0], given)
    moved = moved._replace(segments=moved.segments.double(), labels=moved.labels.int())
    for one, other in zip(passes.forward(moved), expected, strict=True):
        assert torch.equal(one, other)
    upper = {"grad_total": expected.total, "grad_loss": expected.loss}
    grads = passes.backward(given.backward(expected, **upper))
    for one, other in zip(passes.backward(moved.backward(expected, **upper)), grads, strict=True):
        assert torch.equal(one, other)


def test_instances_without_a_value_make_the_loss_show_it(passes: Passes) -> None:
    given = scene((5, 8), 9)
    given.features[0, 8:] = torch.nan
    found = passes.forward(each_tensor(lambda x: x.to(passes.device), given))
    assert bool(found.loss.isnan()) and bool(found.total.isnan())


def test_buffers_grow_linearly_with_the_instances(passes: Passes) -> None:
    cases.check_buffers_grow_linearly(passes, functools.partial(fences.fenced, fences.CUDA))


def test_two_launches_each_way_and_the_same_bits_in_any_order_of_threads(passes: Passes) -> None:
    if passes.device.type == "cuda":
        pytest.skip("the order of threads is the device's")
    library = cuda_on_host.library()
    runs = []
    for seed in (1, 2):
        library.cuda_on_host_set_order(seed)
        before = library.cuda_on_host_launches()
        runs.append(cases.run(passes, 12))
        assert library.cuda_on_host_launches() == before + 4
    library.cuda_on_host_set_order(1)
    for one, other in zip(*runs, strict=True):
        assert torch.equal(one, other)


def test_autograd_takes_it_forward_and_backward(cuda_device: torch.device) -> None:
    def results(name: str) -> list[Tensor]:
        given = each_tensor(lambda x: x.to(cuda_device), scene((5, 0, 8), 12))
        base = torch.tensor(0.5, device=cuda_device).requires_grad_()
        leaves = [x.requires_grad_() for x in (given.features, given.mu, given.sigma)]
        targets = RaggedTargets(given.segments, given.labels, given.video_offsets)
        with backend(name):
            both = add_contrastive_similarity_loss(
                base, 0.3, given.features, given.mask, targets, given.mu, given.sigma
            )
            return [*both, *itertools.chain(*(torch.autograd.grad(x, leaves, retain_graph=True) for x in both))]

    for one, other in zip(results("cuda"), results("reference"), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_is_what_the_op_runs_when_asked_for(cuda_device: torch.device) -> None:
    assert _dispatch.load("contrastive_similarity_loss", "cuda") is _contrastive_similarity_native.cuda
    assert (
        _dispatch.load("contrastive_similarity_loss_backward", "cuda") is _contrastive_similarity_native.cuda_backward
    )
