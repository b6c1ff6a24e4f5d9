# SPDX-License-Identifier: Apache-2.0
"""ASL in ActionFormer's code, or in a model with its interface where the checkout is not there."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from asl_fast.integrations import actionformer
from asl_fast.losses import ASLLoss, LossConfig
from examples import stand_in as shared
from examples.actionformer import stand_in
from examples.actionformer.original import original, video_lists
from examples.actionformer.train import train
from examples.comparison import ALL_OFF, losses_and_gradients

ATTACHED = "asl_loss.gaussians.mu_bias"


def make() -> Any:
    torch.manual_seed(0)
    return stand_in.PtTransformer().train()


def videos() -> list[dict[str, Any]]:
    return next(video_lists(1, shared.CHANNELS, shared.LONGEST, shared.CLASSES))


def with_asl(**options: Any) -> tuple[Any, ASLLoss]:
    model = make()
    return model, actionformer.use_asl(model, **options)


def test_all_off_losses_and_gradients_are_the_originals() -> None:
    of_loss, of_gradient, totals = losses_and_gradients(original(), actionformer.use_asl)
    assert len(totals) == 3 and all(total > 0 for total in totals)
    assert of_loss < 2e-6
    assert of_gradient < 2e-6


def test_its_training_code_trains_loss_and_model() -> None:
    log, found = train(original(), 12)
    assert set(log[0]) == {"cls_loss", "reg_loss", "sensitivity_loss", "contrastive_loss", "final_loss"}
    assert log[-1]["sensitivity_loss"] < log[0]["sensitivity_loss"]
    assert len(found[0]["scores"]) > 0 and found[0]["segments"].shape[1] == 2


def test_every_parameter_gets_a_gradient_and_stands_in_its_optimisers_groups() -> None:
    model, loss = with_asl()
    model(videos())["final_loss"].backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in loss.parameters())
    groups = shared.sorted_by_name(model, rate=1e-3, decay=0.05)
    held = {id(parameter) for group in groups for parameter in group["params"]}
    assert {id(parameter) for parameter in loss.parameters()} <= held
    undecayed = {id(parameter) for parameter in groups[1]["params"]}
    assert {id(parameter) for parameter in loss.no_weight_decay_parameters()} <= undecayed


def test_checkpoints_from_before_load_strictly_and_leave_the_loss_alone() -> None:
    old = make().state_dict()
    model, loss = with_asl()
    with torch.no_grad():
        loss.gaussians.mu_bias.fill_(0.25)  # type: ignore[union-attr]
    model.load_state_dict(old)
    assert torch.equal(model.state_dict()[ATTACHED], torch.full((shared.CLASSES, 3), 0.25))
    wrapped = nn.DataParallel(model)
    wrapped.load_state_dict({f"module.{name}": value for name, value in old.items()})


def test_checkpoints_hold_the_loss_and_load_without_it_once_it_is_taken_out() -> None:
    model, _ = with_asl()
    model(videos())
    saved = model.state_dict()
    assert saved["asl_loss.loss_normalizer"] != 100.0
    other, _ = with_asl()
    other.load_state_dict(saved)
    assert all(torch.equal(a, b) for a, b in zip(other.state_dict().values(), saved.values(), strict=True))
    with pytest.raises(RuntimeError, match=r"Unexpected key.*asl_loss"):
        make().load_state_dict(saved)
    make().load_state_dict(actionformer.without_asl(saved))
    parallel = {f"module.{name}": value for name, value in saved.items()}
    assert not any("asl_loss" in name for name in actionformer.without_asl(parallel))
    del saved[ATTACHED]
    with pytest.raises(RuntimeError, match=f"Missing key.*{ATTACHED}"):
        other.load_state_dict(saved)


def test_copies_and_wrapped_models_have_their_own_loss() -> None:
    model, loss = with_asl()
    model(videos())
    average = copy.deepcopy(model)  # as its ModelEma does
    assert average.asl_loss is not loss
    first, second = model(videos())["final_loss"], nn.DataParallel(average)(videos())["final_loss"]
    torch.testing.assert_close(first, second)
    assert actionformer.use_asl(nn.DataParallel(make())).loss_normalizer == 100.0


def test_evaluation_is_its_own() -> None:
    plain = make().eval()
    model, _ = with_asl()
    model.eval()
    for ours, theirs in zip(model(videos()), plain(videos()), strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in ("segments", "scores", "labels"))


def test_settings_of_the_model_go_before_config_and_options_before_both() -> None:
    model = make()
    model.train_center_sample_radius, model.train_label_smoothing, model.loss_normalizer = 2.5, 0.1, 250
    config = LossConfig(center_sampling_radius=9.0, delta=0.4, label_smoothing=0.3)
    loss = actionformer.use_asl(model, config, label_smoothing=0.2)
    found = loss.config
    assert (found.center_sampling_radius, found.label_smoothing, found.delta) == (2.5, 0.2, 0.4)
    assert loss.loss_normalizer == 250.0
    model = make()
    model.train_center_sample = "none"
    assert actionformer.use_asl(model).config.center_sampling_radius is None
    with pytest.raises(TypeError, match="no_such_option"):
        actionformer.use_asl(make(), no_such_option=1)


def test_the_evidence_sees_the_input_frames() -> None:
    model, loss = with_asl(signal="evidence")
    losses = model(videos())
    assert losses["fit_loss"] > 0
    losses["final_loss"].backward()
    assert all(p.grad is not None for p in loss.evidence.parameters())  # type: ignore[union-attr]


def test_automatic_balance_of_the_two_losses() -> None:
    model = make()
    model.train_loss_weight = -1
    actionformer.use_asl(model, None, **ALL_OFF)
    losses = {name: float(loss.detach()) for name, loss in model(videos()).items()}
    balance = losses["cls_loss"] / max(losses["reg_loss"], 0.01)
    assert losses["final_loss"] == pytest.approx(losses["cls_loss"] + balance * losses["reg_loss"])


class OtherLoss(stand_in.PtTransformer):
    def losses(self, fpn_masks: Any, out_cls_logits: Any, out_offsets: Any, out_boundaries: Any) -> Any:  # type: ignore[override]
        return {}


class Compiled(nn.Module):
    """Hands on what it has not itself, as what ``torch.compile`` returns does."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def __getattr__(self, name: str) -> Any:
        return super().__getattr__(name) if name == "model" else getattr(super().__getattr__("model"), name)


def test_what_is_no_actionformer_is_refused() -> None:
    model, _ = with_asl()
    with pytest.raises(ValueError, match="has its ASLLoss already"):
        actionformer.use_asl(model)
    with pytest.raises(TypeError, match=r"Linear is no ActionFormer model: it has no 'preprocessing'"):
        actionformer.use_asl(nn.Linear(2, 2))
    with pytest.raises(TypeError, match=r"Compiled is no ActionFormer model: .* before it is wrapped or compiled"):
        actionformer.use_asl(Compiled(make()))
    with pytest.raises(TypeError, match=r"OtherLoss\.losses takes .*out_boundaries.*a loss of its own"):
        actionformer.use_asl(OtherLoss())
    wrapped = nn.parallel.DistributedDataParallel.__new__(nn.parallel.DistributedDataParallel)
    nn.Module.__init__(wrapped)
    with pytest.raises(TypeError, match="before it is wrapped"):
        actionformer.use_asl(wrapped)
    with pytest.raises(TypeError, match="no 'postprocessing'"):
        actionformer.use_soft_nms(nn.Linear(2, 2))


def test_a_recording_without_ground_truth_is_named() -> None:
    model, _ = with_asl()
    batch = videos()
    batch[1]["labels"] = None
    with pytest.raises(ValueError, match="'recording-1' has no 'segments' or no 'labels'"):
        model(batch)


@pytest.fixture
def replaced() -> Iterator[Any]:
    model = make().eval()
    before = model(videos())
    put_back = actionformer.use_soft_nms(model)
    yield model, before
    put_back()


def test_its_post_processing_finds_the_same_with_our_nms(replaced: Any) -> None:
    model, before = replaced
    assert stand_in.batched_nms is actionformer.batched_nms
    for ours, theirs in zip(model(videos()), before, strict=True):
        assert len(theirs["scores"]) > 20
        for name in ("segments", "scores", "labels"):
            torch.testing.assert_close(ours[name], theirs[name])


def test_its_nms_is_put_back() -> None:
    theirs = stand_in.batched_nms
    put_back = actionformer.use_soft_nms(make())
    assert stand_in.batched_nms is not theirs
    put_back()
    assert stand_in.batched_nms is theirs


def test_no_candidate_no_detection() -> None:
    empty = torch.zeros(0, 2), torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    for multiclass in (True, False):
        found: tuple[Tensor, ...] = actionformer.batched_nms(*empty, 0.1, 0.001, 200, multiclass=multiclass)
        assert [tuple(each.shape) for each in found] == [(0, 2), (0,), (0,)]
    one = torch.tensor([[1.0, 2.0]]), torch.tensor([0.5]), torch.tensor([3])
    with pytest.raises(ValueError, match="max_seg_num must be at least 1, found 0"):
        actionformer.batched_nms(*one, 0.1, 0.001, 0)
