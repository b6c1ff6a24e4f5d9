# SPDX-License-Identifier: Apache-2.0
"""The contrastive loss beyond the paper's: other levels, a memory, every positive by itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from asl_fast.losses import ASLLoss
from asl_fast.losses.contrast import NO_PART, VectorMemory
from asl_fast.ops.contrastive_similarity import contrastive_similarity_loss, info_nce, instance_vectors
from asl_fast.reference import _contrastive_similarity_info_nce
from asl_fast.training.graph import padded
from tests.losses.scene import VIDEOS, asl_loss, batch


def memory_of(loss: ASLLoss) -> VectorMemory:
    assert loss.contrast is not None and loss.contrast.memory is not None
    return loss.contrast.memory


def by_hand(anchors: list[Tensor], keys: list[Tensor], labels: list[int], temperature: float, each: bool) -> float:
    """Go through anchors, which are the first keys, one by one; ``labels`` of the keys, -1 of background."""
    losses = []
    for index, anchor in enumerate(anchors):
        similar = [float(torch.exp(F.cosine_similarity(anchor, key, 0) / temperature).detach()) for key in keys]
        others = [j for j in range(len(keys)) if j != index]
        positive = [similar[j] for j in others if labels[j] == labels[index]]
        if labels[index] < 0 or not positive:
            continue
        everything = torch.tensor(sum(similar[j] for j in others), dtype=torch.float64)
        if each:
            losses.append(torch.stack([everything.log() - torch.tensor(s).double().log() for s in positive]).mean())
        else:
            losses.append(everything.log() - torch.tensor(sum(positive), dtype=torch.float64).log())
    return float(torch.stack(losses).mean()) if losses else 0.0


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("levels", ["finest", "assigned", "all"])
def test_the_loss_is_that_of_pooled_vectors_of_its_levels_and_of_the_batches_before(levels: str, each: bool) -> None:
    loss = asl_loss(
        contrastive_levels=levels, contrastive_memory=1000, contrastive_positives="each" if each else "sum"
    ).double()
    assert loss.gaussians is not None
    kept: list[tuple[Tensor, int]] = []
    for step in range(3):
        data = batch(step, dtype=torch.float64)
        found = loss(*data)["contrastive"]
        pooled: list[tuple[Tensor, int]] = []
        for level in range(3 if levels != "finest" else 1):
            segments = data.targets.segments.double() / 2**level
            half = (data.targets.segments[:, 1] - data.targets.segments[:, 0]) / 2
            low, high = [(0, 4), (4, 8), (8, 1e4)][level]
            rows = [i for i in range(len(half)) if levels != "assigned" or low <= half[i] <= high]
            vectors, labels = instance_vectors(
                data.features[level],
                data.masks[level],
                data.targets._replace(segments=segments),
                loss.gaussians.mu,
                loss.gaussians.sigma,
            )
            for i in rows:
                pooled += [
                    (vector, int(label))
                    for vector, label in zip(vectors.view(-1, 3, 16)[i], labels.view(-1, 3)[i], strict=True)
                    if label > NO_PART
                ]
        keys, key_labels = zip(*pooled, *kept, strict=True)
        expected = by_hand([vector for vector, _ in pooled], list(keys), list(key_labels), 0.07, each)
        assert found.item() == pytest.approx(expected, rel=1e-9)
        kept += pooled


def test_the_levels_of_the_scene_differ() -> None:
    losses = {levels: asl_loss(contrastive_levels=levels)(*batch())["contrastive"].item() for levels in LEVELS}
    assert len(set(losses.values())) == 3


LEVELS = ("finest", "assigned", "all")


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("videos", [VIDEOS, [VIDEOS[0], ([], [])], [([], []), VIDEOS[1]], [([], []), ([], [])]])
def test_all_levels_of_a_batch_are_compared_in_one_call(videos: list[Any], padding: int) -> None:
    """As with a memory that holds nothing yet, which goes vector by vector; what pads the targets takes no part."""
    found = []
    for memory in (0, 1000):
        loss = asl_loss(contrastive_levels="all", contrastive_memory=memory).double()
        data = batch(dtype=torch.float64, videos=videos, grad=True)
        if not memory:
            data = data._replace(targets=padded(data.targets, len(data.targets.labels) + padding))
        contrastive = loss(*data)["contrastive"]
        assert loss.gaussians is not None
        inputs = [*data.features, *loss.gaussians.parameters()]
        found.append([contrastive, *torch.autograd.grad(contrastive, inputs)])
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-12)


def test_plain_pooling_and_comparison_are_those_of_the_op() -> None:
    data, loss = batch(dtype=torch.float64), asl_loss().double()
    assert loss.gaussians is not None
    given = (data.features[0], data.masks[0], data.targets, loss.gaussians.mu, loss.gaussians.sigma)
    torch.testing.assert_close(info_nce(*instance_vectors(*given), 0.07), contrastive_similarity_loss(*given))


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("block", [1, 7, 20])
def test_many_anchors_are_compared_block_by_block(block: int, each: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(40, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(-2, 3, (40,), generator=generator)
    others = torch.randn(9, 8, generator=generator, dtype=torch.float64), torch.arange(9) % 4
    found = []
    for size in (40, block):
        monkeypatch.setattr(_contrastive_similarity_info_nce, "BLOCK", size)
        loss = info_nce(vectors, labels, 0.2, others, each_positive=each)
        found.append([loss, *torch.autograd.grad(loss, vectors)])
    torch.testing.assert_close(found[0], found[1])
    assert found[0][0] > 0


def test_memory_keeps_the_latest_that_take_part() -> None:
    memory, written = VectorMemory(5, 2), []
    assert memory.read(again=False)[1].tolist() == [NO_PART] * 10
    for step, labels in enumerate(
        [[3, NO_PART, -1], [NO_PART], [0, 1, 2], [4, 5, 6, NO_PART, 7, 8, 9], [], [*range(12)]]
    ):
        vectors = torch.arange(len(labels))[:, None] + torch.tensor([0.0, 100.0 * step])
        memory.write(vectors, torch.tensor(labels, dtype=torch.int64))
        written += [(label, *vector.tolist()) for label, vector in zip(labels, vectors, strict=True) if label > NO_PART]
        kept, kept_labels = memory.read(again=False)
        found = {(int(n), *v.tolist()) for n, v in zip(kept_labels, kept, strict=True) if n > NO_PART}
        assert found == set(written[-5:])


def test_memory_moves_in_training_with_gradients_only_and_is_saved() -> None:
    loss, data = asl_loss(contrastive_memory=50), batch()
    with torch.no_grad():
        loss(*data)
    loss.eval()(*data)
    assert memory_of(loss).written.item() == 0
    loss.train()(*data)
    assert 0 < memory_of(loss).written.item() == (memory_of(loss).read(again=False)[1] > NO_PART).sum().item()
    other = asl_loss(contrastive_memory=50)
    other.load_state_dict(loss.state_dict())
    assert other(*batch(1))["total"].item() == loss(*batch(1))["total"].item()
    assert not [name for name in asl_loss().state_dict() if name.startswith("contrast")]


def test_no_gradient_reaches_the_batches_before() -> None:
    loss, first, second = asl_loss(contrastive_memory=50), batch(0, grad=True), batch(1, grad=True)
    loss(*first)
    loss(*second)["total"].backward()
    assert first.features[0].grad is None
    assert second.features[0].grad is not None and second.features[0].grad.isfinite().all()


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_batch_that_is_computed_again_does_not_meet_itself(reentrant: bool) -> None:
    plain, again = (asl_loss(contrastive_memory=60, contrastive_levels="all") for _ in range(2))
    for step in range(3):
        one, other = batch(step, grad=True), batch(step, grad=True)
        plain(*one)["total"].backward()

        def run(x: Tensor, other: Any = other) -> Tensor:
            total: Tensor = again(*other._replace(features=[x, *other.features[1:]]))["total"]
            return total

        checkpoint(run, other.features[0], use_reentrant=reentrant).backward()
        assert one.features[0].grad is not None and other.features[0].grad is not None
        torch.testing.assert_close(other.features[0].grad, one.features[0].grad)
        assert torch.equal(memory_of(plain).labels, memory_of(again).labels)


def test_detached_features_teach_the_evaluators_and_not_the_detector() -> None:
    for detached in (False, True):
        loss, data = asl_loss(contrastive=False, detach_quality_features=detached), batch(grad=True)
        loss(*data)["total"].backward()
        assert loss.evaluator is not None and loss.evaluator.conv.weight.grad is not None
        assert loss.evaluator.conv.weight.grad.abs().sum() > 0
        assert (data.features[0].grad is None) == detached


def test_options_are_checked() -> None:
    for options, words in (
        ({"contrastive_levels": "coarsest"}, 'contrastive_levels must be "finest" or "assigned" or "all"'),
        ({"contrastive_positives": "mean"}, 'contrastive_positives must be "sum" or "each"'),
        ({"contrastive_memory": -1}, "contrastive_memory must be at least 0, found -1"),
    ):
        with pytest.raises(ValueError, match=words):
            asl_loss(**options)
