# SPDX-License-Identifier: Apache-2.0
"""The gradients of the detector and of the loss's own parameters are clipped apart."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from asl_fast.serialization import from_dict, to_dict
from asl_fast.training.config import OptimizerConfig, TrainConfig
from asl_fast.training.presets import with_variant
from tests.training.test_graph import batches, make_step, take
from tests.training.test_resume import differences
from tests.training.tiny import tiny_config

APART, TOGETHER = (
    replace(tiny_config().optimizer, clip_norm=0.5, clip_apart=True),
    replace(tiny_config().optimizer, clip_norm=0.5, clip_apart=False),
)
EVIDENCE = replace(tiny_config(), loss=replace(tiny_config().loss, signal="evidence"))


def gradients(config: TrainConfig, scale: float = 1.0) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Clip the gradients of a first batch, those of the loss scaled before; return both kinds and the norm."""
    step = make_step(config)
    step.module(*next(batches(config)))["total"].backward()
    for parameter in step.state.loss.parameters():
        if parameter.grad is not None:
            parameter.grad *= scale
    before = [p.grad.norm() for p in step.state.parameters if p.grad is not None]
    norm = step._clip()
    torch.testing.assert_close(norm, torch.stack(before).norm(), equal_nan=True)
    found = [[p.grad for p in m.parameters() if p.grad is not None] for m in (step.state.detector, step.state.loss)]
    return found[0], found[1], norm


def norm_of(tensors: list[Tensor]) -> float:
    return float(torch.stack([tensor.norm() for tensor in tensors]).norm())


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_what_the_loss_learns_does_not_shorten_the_steps_of_the_detector(scale: float) -> None:
    expected, _, _ = gradients(replace(EVIDENCE, optimizer=APART), 0.0)
    of_detector, of_loss, _ = gradients(replace(EVIDENCE, optimizer=APART), scale)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(of_detector, expected, strict=True))
    assert norm_of(of_detector) == pytest.approx(0.5, rel=1e-4)
    assert norm_of(of_loss) <= 0.5001


def test_clipped_together_it_does() -> None:
    config = replace(EVIDENCE, optimizer=TOGETHER)
    of_detector, of_loss, _ = gradients(config, 1e4)
    assert norm_of(of_detector + of_loss) == pytest.approx(0.5, rel=1e-4)
    assert norm_of(of_detector) < 1e-3


def test_a_small_gradient_is_left_alone() -> None:
    config = replace(EVIDENCE, optimizer=replace(APART, clip_norm=0.0))
    of_detector, of_loss, norm = gradients(config)
    assert norm_of(of_detector + of_loss) == pytest.approx(float(norm))


def test_groups_hold_every_parameter_once() -> None:
    for variant, groups in (("plain", 1), ("constant", 1), ("ascl", 1), ("p", 2), ("asl", 2), ("asl-paper", 2)):
        state = make_step(with_variant(replace(EVIDENCE, optimizer=APART), variant)).state
        assert len(state.clipped) == groups
        assert [id(p) for group in state.clipped for p in group] == [id(p) for p in state.parameters]
        assert {id(p) for p in state.clipped[0]} == {id(p) for p in state.detector.parameters()}


def test_without_parameters_of_the_loss_nothing_changes() -> None:
    configs = [with_variant(replace(EVIDENCE, optimizer=optimizer), "constant") for optimizer in (APART, TOGETHER)]
    steps = [make_step(config) for config in configs]
    assert torch.equal(*(take(step, config) for step, config in zip(steps, configs, strict=True)))
    assert differences(*(step.state.state_dict() for step in steps)) == []


def test_a_gradient_that_is_no_number_shows_in_the_norm() -> None:
    *_, norm = gradients(replace(EVIDENCE, optimizer=APART), float("inf"))
    assert not torch.isfinite(norm)


def test_runs_of_before_go_on_as_they_began() -> None:
    saved = to_dict(OptimizerConfig())
    del saved["clip_apart"]
    assert not from_dict(OptimizerConfig, saved).clip_apart and OptimizerConfig().clip_apart
