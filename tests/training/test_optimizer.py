# SPDX-License-Identifier: Apache-2.0
"""Parameter groups, learning rates and the average of the weights."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from asl_fast.models.config import FrontEndConfig
from asl_fast.models.detector import ActionDetector
from asl_fast.training.config import OptimizerConfig
from asl_fast.training.ema import WeightAverage
from asl_fast.training.optimizer import make_optimizer, split_parameters
from asl_fast.training.schedule import WarmupCosine
from asl_fast.training.state import make_loss
from tests.training.tiny import tiny_config

TINY = tiny_config().model
MODELS = {
    "plain": TINY,
    "relative": replace(TINY, positions="relative"),
    "conv": replace(TINY, backbone="conv", fpn=True),
    "front end": replace(TINY, front_end=FrontEndConfig(samples_per_step=2, strides=(2,)), positions="absolute"),
}


@pytest.mark.parametrize("model", MODELS)
def test_only_weights_of_linear_maps_decay(model: str) -> None:
    detector = ActionDetector(MODELS[model])
    decay, no_decay = split_parameters(detector)
    every = dict(detector.named_parameters())
    assert {id(p) for p in decay + no_decay} == {id(p) for p in every.values()}
    assert len(decay) + len(no_decay) == len(every)
    names = {id(parameter): name for name, parameter in every.items()}
    assert all(names[id(p)].endswith("weight") and p.dim() >= 2 for p in decay)
    # Every other parameter is a vector per channel or a scalar, except relative position tables.
    assert all(p.dim() <= 1 or names[id(p)].endswith("relative_bias") for p in no_decay)


def test_gaussians_do_not_decay_and_have_their_own_rate() -> None:
    config = tiny_config()
    loss = make_loss(config)
    optimizer = make_optimizer(
        ActionDetector(config.model), loss, replace(config.optimizer, loss_lr_multiplier=10.0, weight_decay=0.05)
    )
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert loss.gaussians is not None
    for parameter in loss.gaussians.parameters():
        assert groups[id(parameter)]["weight_decay"] == 0.0
    assert {groups[id(p)]["base_lr"] for p in loss.parameters()} == {1e-2}
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, 0.05}


def test_class_level_has_a_rate_apart_from_the_loss() -> None:
    config = tiny_config()
    loss = make_loss(replace(config, loss=replace(config.loss, signal="evidence")))
    optimizer = make_optimizer(ActionDetector(config.model), loss, replace(config.optimizer, gaussian_lr=0.02))
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert loss.gaussians is not None and loss.evidence is not None and loss.evaluator is not None
    rates = {name: {groups[id(p)]["base_lr"] for p in part.parameters()} for name, part in loss.named_children()}
    # What compares instances has nothing to learn.
    assert rates == {"gaussians": {0.02}, "evidence": {0.02}, "evaluator": {config.optimizer.lr}, "contrast": set()}
    assert all(groups[id(p)]["weight_decay"] == 0.0 for p in loss.gaussians.parameters())
    assert groups[id(loss.evidence.classifier.weight)]["weight_decay"] == config.optimizer.weight_decay


def test_frozen_gaussians_are_left_out() -> None:
    config = tiny_config()
    loss = make_loss(replace(config, loss=replace(config.loss, class_level=False)))
    assert loss.gaussians is not None
    optimizer = make_optimizer(ActionDetector(config.model), loss, config.optimizer)
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert not trained & {id(p) for p in loss.gaussians.parameters()}


def test_a_parameter_without_a_rule_is_named() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.zeros(3))

    with pytest.raises(ValueError, match=r"no weight-decay rule covers 1.table of Odd"):
        split_parameters(nn.Sequential(nn.Linear(2, 2), Odd()))


def actionformer_rates(base: float, warmup: int, total: int, min_lr: float) -> list[float]:
    """Apply the recurrences of ActionFormer's scheduler, step by step."""
    rates = [0.0]
    for step in range(1, total):
        if step < warmup:
            rates.append(rates[-1] + base / (warmup - 1))
        elif step == warmup:
            rates.append(base)
        else:
            now, before = (math.cos(math.pi * (s - warmup) / (total - warmup)) for s in (step, step - 1))
            rates.append((1 + now) / (1 + before) * (rates[-1] - min_lr) + min_lr)
    return rates


@pytest.mark.parametrize(("warmup", "total"), [(5, 30), (2, 10), (20, 21)])
def test_schedule_is_actionformers(warmup: int, total: int) -> None:
    schedule = WarmupCosine(warmup, total, 1e-8)
    found = [schedule.rate(step, 1e-3) for step in range(total)]
    # The recurrence accumulates one rounding error per step.
    assert found == pytest.approx(actionformer_rates(1e-3, warmup, total, 1e-8), rel=1e-12, abs=1e-16)


@given(st.integers(0, 20), st.integers(1, 40), st.floats(1e-6, 1.0))
def test_schedule_stays_in_range(warmup: int, cosine: int, base: float) -> None:
    schedule = WarmupCosine(warmup, warmup + cosine, 1e-8)
    rates = [schedule.rate(step, base) for step in range(warmup + cosine + 3)]
    assert all(0 <= rate <= base * (1 + 1e-12) for rate in rates)
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    assert rates[warmup] == pytest.approx(base)
    assert rates[warmup + cosine] == pytest.approx(1e-8)


def test_schedule_sets_each_group_by_its_own_rate() -> None:
    weights = [nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))]
    groups = [{"params": [w], "lr": lr, "base_lr": lr} for w, lr in zip(weights, (1.0, 0.1), strict=True)]
    optimizer = torch.optim.AdamW(groups)
    assert WarmupCosine(5, 10).apply(optimizer, 2) == pytest.approx(0.5)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.5, 0.05])


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 60), st.floats(0.0, 0.999))
def test_average_follows_its_formula(updates: int, decay: float) -> None:
    module = nn.Linear(1, 1, bias=False)
    average = WeightAverage(module, decay)
    expected = module.weight.item()
    for n in range(updates):
        with torch.no_grad():
            module.weight.fill_(float(n))
        average.update()
        now = min(decay, (1 + n) / (10 + n)) if decay else 0.0
        expected = now * expected + (1 - now) * n
    # float32 against float64 over at most 60 updates of values up to 60.
    assert average.module.weight.item() == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_a_short_run_is_not_judged_on_its_initial_weights() -> None:
    """630 updates at a constant 0.999 hold 53 % of the start; warmed up they hold almost nothing of it."""
    module = nn.Linear(1, 1, bias=False)
    nn.init.ones_(module.weight)
    average = WeightAverage(module, 0.999)
    nn.init.zeros_(module.weight)
    for _ in range(630):
        average.update()
    assert 0.999**630 > 0.53
    assert average.module.weight.item() < 1e-6


def test_average_copies_integer_buffers_and_stays_apart() -> None:
    module = nn.BatchNorm1d(2)
    average = WeightAverage(module, 0.5)
    module(torch.randn(4, 2))
    average.update()
    assert average.module.num_batches_tracked.item() == 1
    assert not any(parameter.requires_grad for parameter in average.module.parameters())
    again = WeightAverage(nn.BatchNorm1d(2), 0.5)
    again.load_state_dict(average.state_dict())
    assert again.num_updates == 1
    assert torch.equal(again.module.running_mean, average.module.running_mean)


def test_configuration_reaches_adamw() -> None:
    config = tiny_config()
    wanted = OptimizerConfig(lr=3e-4, weight_decay=0.1, betas=(0.8, 0.99), eps=1e-6)
    optimizer = make_optimizer(ActionDetector(config.model), make_loss(config), wanted)
    for group in optimizer.param_groups:
        assert (group["betas"], group["eps"], group["base_lr"]) == ((0.8, 0.99), 1e-6, 3e-4)
