# SPDX-License-Identifier: Apache-2.0
"""ASL in OpenTAD's code, or in a detector with its interface where the checkout is not there."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from asl_fast.integrations import opentad
from asl_fast.losses import ASLLoss
from examples import stand_in as shared
from examples.comparison import losses_and_gradients
from examples.opentad import stand_in
from examples.opentad.original import batches, original
from examples.opentad.train import train

NMS = {"min_score": 0.001, "max_seg_num": 100}


def make() -> Any:
    torch.manual_seed(0)
    return stand_in.ActionFormer().train()


def batch() -> dict[str, Any]:
    return next(batches(1, shared.CHANNELS, shared.LONGEST, shared.CLASSES))


def with_asl(**options: Any) -> tuple[Any, ASLLoss]:
    model = make()
    return model, opentad.use_asl(model, **options)


def test_all_off_losses_and_gradients_are_the_originals() -> None:
    of_loss, of_gradient, totals = losses_and_gradients(original(), opentad.use_asl)
    assert len(totals) == 3 and all(total > 0 for total in totals)
    assert of_loss < 2e-6
    assert of_gradient < 2e-6


def test_its_training_code_trains_loss_and_model() -> None:
    log, found = train(original(), 12)
    assert set(log[0]) == {"cls_loss", "reg_loss", "sensitivity_loss", "contrastive_loss", "cost"}
    assert log[-1]["sensitivity_loss"] < log[0]["sensitivity_loss"]
    assert len(found) == 3 and all(len(each) > 0 for each in found.values())


@pytest.mark.parametrize("weight", [1.0, 0.5, -1.0])
def test_the_sum_of_its_losses_is_our_total(weight: float) -> None:
    """OpenTAD minimises the sum of all that a head gives."""
    model, twin = make(), make()
    model.rpn_head.loss_weight = twin.rpn_head.loss_weight = weight
    torch.manual_seed(1)
    opentad.use_asl(model, signal="likelihood")
    torch.manual_seed(1)
    loss = opentad.use_asl(twin, signal="likelihood")
    totals: list[Any] = []
    loss.register_forward_hook(lambda module, given, found: totals.append(found["total"]))
    data = batch()
    cost = model(**data)["cost"]
    twin(**data)
    torch.testing.assert_close(cost, totals[0])
    cost.backward()
    totals[0].backward()
    for ours, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, other.grad, rtol=1e-4, atol=1e-7)


def test_every_parameter_stands_in_its_optimisers_groups() -> None:
    model, loss = with_asl()
    model(**batch())["cost"].backward()
    assert all(parameter.grad is not None for parameter in loss.parameters())
    groups = model.get_optim_groups({"lr": 1e-3, "weight_decay": 0.05})
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_checkpoints_from_before_load_strictly_and_their_count_of_positives_goes_on() -> None:
    plain = make()
    plain(**batch())
    old = plain.state_dict()
    model, loss = with_asl()
    model.load_state_dict(old)
    assert loss.loss_normalizer == old["rpn_head.loss_normalizer"] != 100.0
    saved = model.state_dict()
    copy.deepcopy(model).load_state_dict(saved)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*rpn_head\.asl_loss"):
        plain.load_state_dict(saved)
    plain.load_state_dict(opentad.without_asl(saved))


def test_losses_in_evaluation_are_its_own() -> None:
    model, _ = with_asl()
    ours, theirs = model.eval()(**batch()), make().eval()(**batch())
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


class OwnTargets(stand_in.AnchorFreeHead):
    def prepare_targets(self, points: Any, gt_segments: Any, gt_labels: Any) -> Any:
        return super().prepare_targets(points, gt_segments, gt_labels)


class GIOULoss(nn.Module):
    pass


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("reg_loss", GIOULoss(), r"reg_loss is GIOULoss, but ASLLoss has DIOULoss: set reg_loss=dict\(type=\"DIOU"),
        ("filter_similar_gt", False, "set filter_similar_gt=True"),
    ],
)
def test_settings_that_our_loss_does_not_have_are_named(part: str, value: Any, message: str) -> None:
    model = make()
    setattr(model.rpn_head, part, value)
    with pytest.raises(ValueError, match=message):
        opentad.use_asl(model)


def test_another_focal_loss_is_named() -> None:
    model = make()
    model.rpn_head.cls_loss.gamma = 1.5
    with pytest.raises(ValueError, match=r"gamma=1\.5, but ASLLoss has 2\.0"):
        opentad.use_asl(model)


def test_what_has_another_loss_is_refused() -> None:
    model, _ = with_asl()
    with pytest.raises(ValueError, match="has its ASLLoss already"):
        opentad.use_asl(model)
    with pytest.raises(TypeError, match="OwnTargets has prepare_targets of its own"):
        opentad.use_asl(OwnTargets())
    with pytest.raises(TypeError, match="Linear is no anchor-free head"):
        opentad.use_asl(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="does not see"):
        with_asl(signal="evidence")
    wrapped = nn.parallel.DistributedDataParallel.__new__(nn.parallel.DistributedDataParallel)
    nn.Module.__init__(wrapped)
    with pytest.raises(TypeError, match="before it is wrapped"):
        opentad.use_asl(wrapped)
    with pytest.raises(TypeError, match="no 'post_processing'"):
        opentad.use_soft_nms(nn.Linear(2, 2))


def test_its_post_processing_finds_the_same_with_our_nms() -> None:
    source = original()
    model = source.make_model().eval()
    data = next(iter(source.batches(1)))
    theirs = source.detect(model, data)
    put_back = opentad.use_soft_nms(model)
    ours = source.detect(model, data)
    put_back()
    assert ours.keys() == theirs.keys()
    for name in theirs:
        assert len(ours[name]) == len(theirs[name]) > 10
        for one, other in zip(ours[name], theirs[name], strict=True):
            assert one["label"] == other["label"]
            assert one["segment"] == pytest.approx(other["segment"], abs=0.011)
            assert one["score"] == pytest.approx(other["score"], abs=1.1e-4)


def test_votes_count_scores_alone() -> None:
    segments = torch.tensor([[0.0, 10.0], [1.0, 11.0], [50.0, 60.0], [70.0, 70.0]])
    scores = torch.tensor([0.8, 0.4, 0.3, 0.2])
    labels = torch.tensor([0, 1, 1, 2])
    kept, _, _ = opentad.batched_nms(segments, scores, labels, **NMS, multiclass=False, voting_thresh=0.5)  # type: ignore[arg-type]
    # The first two overlap by 9 / 11; the last has no length, so that nothing votes on it.
    moved = 1 / 3
    expected = {(moved, 10 + moved): 2, (50.0, 60.0): 1, (70.0, 70.0): 1}
    for (start, end), number in expected.items():
        near = torch.isclose(kept, torch.tensor([start, end]), atol=1e-5).all(-1)
        assert int(near.sum()) == number


def test_methods_by_their_numbers() -> None:
    segments = torch.tensor([[0.0, 10.0], [0.0, 10.0], [5.0, 15.0]])
    scores, labels = torch.tensor([0.9, 0.8, 0.7], dtype=torch.float64), torch.zeros(3)
    number = {}
    for method in (0, 1, 2):
        found = opentad.batched_nms(segments, scores, labels, iou_threshold=0.3, method=method, **NMS)  # type: ignore[arg-type]
        assert found[2].dtype == labels.dtype and found[1].dtype == torch.float32
        number[method] = len(found[1])
    assert number == {0: 1, 1: 2, 2: 3}
    with pytest.raises(ValueError, match="method=3 of OpenTAD's NMS has no equivalent"):
        opentad.batched_nms(segments, scores, labels, method=3)
    assert len(opentad.batched_nms(segments, scores, labels, method=3, use_soft_nms=False, iou_threshold=0.3)[1]) == 1
