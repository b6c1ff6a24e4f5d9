# SPDX-License-Identifier: Apache-2.0
"""Adapted models in loops of all kinds: scaled gradients, activation checkpointing, autocast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from asl_fast.integrations import actionformer, opentad
from examples.actionformer import original as of_actionformer
from examples.comparison import Original
from examples.opentad import original as of_opentad

Case = tuple[Original, Callable[..., Any]]


@pytest.fixture(params=["actionformer", "opentad"])
def case(request: pytest.FixtureRequest) -> Case:
    if request.param == "actionformer":
        return of_actionformer.original(), actionformer.use_asl
    return of_opentad.original(), opentad.use_asl


def adapted(case: Case) -> nn.Module:
    source, use_asl = case
    model = source.make_model().train()
    torch.manual_seed(1)
    use_asl(model)
    return model


def total(case: Case, model: nn.Module) -> Tensor:
    source, _ = case
    return source.loss(model, next(iter(source.batches(1))))[source.total]


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def plain(case: Case) -> dict[str, Tensor]:
    model = adapted(case)
    torch.autograd.backward(total(case, model))
    return gradients(model)


def test_scaled_gradients(case: Case) -> None:
    model = adapted(case)
    optimizer = case[0].make_optimizer(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    torch.autograd.backward(scaler.scale(total(case, model)))
    scaler.unscale_(optimizer)
    torch.testing.assert_close(gradients(model), plain(case))


def test_a_pass_that_is_run_again(case: Case) -> None:
    model = adapted(case)
    start = torch.zeros((), requires_grad=True)
    batch = next(iter(case[0].batches(1)))
    again = checkpoint(lambda x: case[0].loss(model, batch)[case[0].total] + x, start, use_reentrant=False)
    torch.autograd.backward(again)
    torch.testing.assert_close(gradients(model), plain(case))


def test_autocast(case: Case) -> None:
    model = adapted(case)
    with torch.autocast("cpu", torch.bfloat16):
        loss = total(case, model)
    assert loss.dtype == torch.float32
    torch.autograd.backward(loss)
    found, expected = gradients(model), plain(case)
    assert found.keys() == expected.keys()
    assert all(gradient.isfinite().all() for gradient in found.values())
    torch.testing.assert_close(loss.detach(), total(case, adapted(case)).detach(), rtol=0.05, atol=0)
