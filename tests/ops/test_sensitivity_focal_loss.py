# SPDX-License-Identifier: Apache-2.0
"""Sensitivity-weighted focal loss: ActionFormer's outputs, gradients, weights, masks, sparse targets, registration."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from asl_fast import sensitivity_focal_loss
from asl_fast.reference.sensitivity_focal_loss import Operands
from tests.drawing import draws
from tests.ops import checks
from tests.shared import golden_arrays

OP = "sensitivity_focal_loss"
GOLDEN = "losses_focal"
KEYS = [f"a{a}_g{g}_hard" for a, g in ((0.25, 2.0), (0.5, 2.0), (0.75, 1.0), (-1.0, 2.0), (0.25, 0.0), (0.25, 1.5))]
KEYS += ["a0.25_g0.5_hard", "a0.0_g3.0_hard", "a1.0_g2.0_hard", "a0.25_g2.0_smooth", "a0.5_g2.0_smooth"]


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def random_ids(*shape: int, classes: int, seed: int = 0) -> Tensor:
    """Class ids in [-1, classes)."""
    return torch.randint(-1, classes, shape, generator=torch.Generator().manual_seed(seed))


def one_hot(ids: Tensor, classes: int) -> Tensor:
    return F.one_hot(ids + 1, classes + 1)[..., 1:].double()


def test_all_golden_settings_are_compared() -> None:
    configs = json.loads(str(golden_arrays(GOLDEN)["configs"]))
    assert sorted(KEYS) == sorted(config["key"] for config in configs)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("suffix", ["f64", "f32"])
def test_equals_actionformer(key: str, suffix: str) -> None:
    data: dict[str, Any] = golden_arrays(GOLDEN)
    dtype, tolerance = (torch.float64, 1e-12) if suffix == "f64" else (torch.float32, 2e-6)
    config = next(c for c in json.loads(str(data["configs"])) if c["key"] == key)
    logits = torch.tensor(data["logits"], dtype=dtype, requires_grad=True)
    settings_ = {"alpha": config["alpha"], "gamma": config["gamma"]}
    targets = torch.tensor(data[config["targets"]], dtype=dtype)
    elements = sensitivity_focal_loss(logits, targets, **settings_)
    elements.sum().backward()
    torch.testing.assert_close(
        elements.detach(), torch.tensor(data[f"{key}__loss_{suffix}"]), rtol=tolerance, atol=tolerance
    )
    for reduction in ("sum", "mean"):
        found = sensitivity_focal_loss(logits, targets, reduction=reduction, **settings_)
        expected = torch.tensor(data[f"{key}__{reduction}_{suffix}"])
        torch.testing.assert_close(found.detach(), expected, rtol=tolerance, atol=0)

    # For 0 < gamma < 1 the reference has NaN where an element is classified perfectly; ours is 0 there.
    expected = torch.tensor(data[f"{key}__grad_{suffix}"])
    undefined = expected.isnan()
    assert int(undefined.sum()) == config[f"nan_grad_{suffix}"]
    torch.testing.assert_close(logits.grad, expected.nan_to_num(0), rtol=10 * tolerance, atol=tolerance)
    assert bool(logits.grad.isfinite().all())


def test_label_smoothing_is_actionformers_form() -> None:
    data: dict[str, Any] = golden_arrays(GOLDEN)
    logits, hard, smooth = (torch.tensor(data[key]).double() for key in ("logits", "targets", "targets_smooth"))
    found = sensitivity_focal_loss(logits, hard, label_smoothing=0.1)
    torch.testing.assert_close(found, sensitivity_focal_loss(logits, smooth), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(
        sensitivity_focal_loss(logits, hard, label_smoothing=0.1),
        sensitivity_focal_loss(logits, hard * 0.9 + 0.1 / (logits.shape[-1] + 1)),
        **checks.FLOAT64,
    )


elements = st.lists(
    st.tuples(st.floats(-110, 110, width=32), st.sampled_from([0.0, 1.0, 0.3])), min_size=1, max_size=12
)


@given(rows=elements, alpha=st.sampled_from([-1.0, 0.0, 0.25, 1.0]), gamma=st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.5]))
@settings(max_examples=draws(100), deadline=None)
def test_stays_finite_and_bounded_by_cross_entropy(rows, alpha: float, gamma: float) -> None:
    x, t = (torch.tensor(column, dtype=torch.float32)[None] for column in zip(*rows, strict=True))
    x.requires_grad_()
    loss = sensitivity_focal_loss(x, t, alpha=alpha, gamma=gamma)
    loss.sum().backward()
    wide = (x.detach().double(), t.double())
    cross_entropy = F.binary_cross_entropy_with_logits(*wide, reduction="none").float()
    assert bool(loss.isfinite().all()) and bool(x.grad.isfinite().all())
    # PyTorch's cross entropy cancels numbers up to 110 in float64, hence the absolute term.
    assert bool((loss >= 0).all()) and bool((loss <= cross_entropy * (1 + 1e-6) + 1e-13).all())
    if gamma == 0 and alpha < 0:
        torch.testing.assert_close(loss.detach(), cross_entropy, **checks.FLOAT32)


@given(rows=elements, gamma=st.sampled_from([0.0, 0.5, 2.0]))
@settings(max_examples=draws(50), deadline=None)
def test_swapping_the_classes_mirrors_the_loss(rows, gamma: float) -> None:
    x, t = (torch.tensor(column, dtype=torch.float64)[None] for column in zip(*rows, strict=True))
    loss = sensitivity_focal_loss(x, t, alpha=0.25, gamma=gamma)
    torch.testing.assert_close(loss, sensitivity_focal_loss(-x, 1 - t, alpha=0.75, gamma=gamma), **checks.FLOAT64)


def test_keeps_its_digits_where_the_sigmoid_saturates() -> None:
    # 1 - sigmoid(x) in float32 is 0 from x = 17 on; the loss is x e^(-2x) and has a value long after.
    x = torch.tensor([[20.0, 30.0]], requires_grad=True)
    loss = sensitivity_focal_loss(x, torch.ones(1, 2), alpha=-1)
    loss.sum().backward()
    double = x.detach().double()
    torch.testing.assert_close(loss.double(), torch.exp(-3 * double), rtol=1e-5, atol=0)
    torch.testing.assert_close(x.grad.double(), -3 * torch.exp(-3 * double), rtol=1e-5, atol=0)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("dense_weights", [False, True])
@pytest.mark.parametrize("gamma", [0.0, 0.7, 2.0])
def test_gradients_equal_numerical_ones(reduction: str, dense_weights: bool, gamma: float) -> None:
    logits, targets = random(2, 3, 4).requires_grad_(), random(2, 3, 4, seed=1).sigmoid()
    weights = random(*((2, 3, 4) if dense_weights else (2, 3)), seed=2).exp().requires_grad_()
    mask = torch.tensor([[True, True, False], [True, False, True]])
    checks.gradcheck(
        lambda x, w: sensitivity_focal_loss(x, targets, w, mask, gamma=gamma, label_smoothing=0.1, reduction=reduction),
        logits,
        weights,
    )


@pytest.mark.parametrize("ids_dtype", [torch.int64, torch.int32, torch.int16])
def test_sparse_class_ids_equal_their_dense_form(ids_dtype: torch.dtype) -> None:
    logits, ids = random(5, 7, 4, seed=3), random_ids(5, 7, classes=4, seed=4)
    assert int((ids == -1).sum()) > 0
    for smoothing in (0.0, 0.2):
        found = sensitivity_focal_loss(logits, ids.to(ids_dtype), label_smoothing=smoothing)
        assert torch.equal(found, sensitivity_focal_loss(logits, one_hot(ids, 4), label_smoothing=smoothing))


def test_weights_multiply_positives_and_background_as_given() -> None:
    logits, ids, weights = random(6, 3), random_ids(6, classes=3, seed=1), torch.linspace(0, 2.5, 6).double()
    plain = sensitivity_focal_loss(logits, ids)
    torch.testing.assert_close(sensitivity_focal_loss(logits, ids, weights), plain * weights[:, None], **checks.FLOAT64)
    dense = random(6, 3, seed=2).exp()
    torch.testing.assert_close(sensitivity_focal_loss(logits, ids, dense), plain * dense, **checks.FLOAT64)


def test_masked_points_vanish_even_when_they_are_nan() -> None:
    logits, ids, mask = random(6, 3), random_ids(6, classes=3), torch.tensor([True, False, True, True, False, True])
    weights = torch.ones(6, dtype=torch.float64)
    logits[~mask], weights[~mask] = math.nan, math.inf
    logits.requires_grad_(), weights.requires_grad_()
    for reduction in ("sum", "mean"):
        logits.grad = weights.grad = None
        loss = sensitivity_focal_loss(logits, ids, weights, mask, reduction=reduction)
        loss.backward()
        kept = sensitivity_focal_loss(logits.detach()[mask], ids[mask], reduction=reduction)
        torch.testing.assert_close(loss.detach(), kept, **checks.FLOAT64)
        assert torch.equal(logits.grad[~mask], torch.zeros(2, 3).double())
        assert torch.equal(weights.grad[~mask], torch.zeros(2).double())
        assert bool(logits.grad[mask].all())
    elementwise = sensitivity_focal_loss(logits, ids, weights, mask)
    assert torch.equal(elementwise[~mask], torch.zeros(2, 3).double())


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("shape", [(0, 3), (2, 0, 3), (4, 0)])
def test_nothing_gives_zero_with_a_graph(reduction: str, shape: tuple[int, ...]) -> None:
    logits, weights = torch.zeros(shape, requires_grad=True), torch.zeros(shape[:-1], requires_grad=True)
    loss = sensitivity_focal_loss(logits, torch.full(shape[:-1], -1), weights, reduction=reduction)
    assert loss.shape == (shape if reduction == "none" else ())
    loss.sum().backward()
    assert loss.sum().item() == 0
    assert logits.grad.shape == shape and not bool(weights.grad.any())


def test_a_mask_that_keeps_nothing_gives_zero() -> None:
    logits = random(4, 2).requires_grad_()
    loss = sensitivity_focal_loss(logits, random_ids(4, classes=2), mask=torch.zeros(4).bool(), reduction="mean")
    loss.backward()
    assert loss.item() == 0 and not bool(logits.grad.any())


def test_one_point_without_leading_dimensions() -> None:
    logits = random(3).requires_grad_()
    loss = sensitivity_focal_loss(logits, torch.tensor(1), torch.tensor(2.0), torch.tensor(True), reduction="sum")
    loss.backward()
    expected = 2 * sensitivity_focal_loss(logits.detach()[None], torch.tensor([1]), reduction="sum")
    torch.testing.assert_close(loss.detach(), expected, **checks.FLOAT64)


def test_half_precision_and_layouts() -> None:
    logits, weights = random(5, 6, 4, seed=5).float().requires_grad_(), random(5, 6, seed=6).exp().float()
    weights.requires_grad_()
    ids, mask = random_ids(5, 6, classes=4, seed=7), random(5, 6, seed=8) > -1
    for reduction in ("none", "sum"):
        for targets in (ids, one_hot(ids, 4).float()):
            function = lambda x, t, w, m, r=reduction: sensitivity_focal_loss(x, t, w, m, reduction=r)  # noqa: E731
            checks.half_precision(function, logits, targets, weights, mask)
            checks.any_layout(function, logits, targets, weights, mask)


def test_float16_gradients_survive_a_loss_scale() -> None:
    # A confident background point: its gradient is 1.6e-8, below float16; the scale of mixed-precision training helps.
    logits = torch.full((1, 1), -6.0, dtype=torch.float16, requires_grad=True)
    (sensitivity_focal_loss(logits, torch.tensor([-1]), reduction="sum") * 2.0**16).backward()
    double = torch.full((1, 1), -6.0, dtype=torch.float64, requires_grad=True)
    (sensitivity_focal_loss(double, torch.tensor([-1]), reduction="sum") * 2.0**16).backward()
    torch.testing.assert_close(logits.grad.double(), double.grad, rtol=1e-3, atol=0)


def test_bad_arguments_are_named() -> None:
    x, ids = random(5, 3), random_ids(5, classes=3)
    cases: list[tuple[type[Exception], str, tuple[Any, ...], dict[str, Any]]] = [
        (TypeError, "logits must be floating point", (x.long(), ids), {}),
        (ValueError, "got a scalar", (x[0, 0], ids), {}),
        (ValueError, r"class ids must lie in \[-1, 2\].*got -1 to 3", (x, torch.tensor([0, 1, 3, -1, 0])), {}),
        (ValueError, "got -2 to 1", (x, torch.tensor([0, 1, -2, -1, 0])), {}),
        (ValueError, r"integer targets must be \(5,\), got \(5, 3\)", (x, torch.zeros(5, 3).long()), {}),
        (ValueError, r"dense targets must be \(5, 3\), got \(5,\)", (x, torch.zeros(5)), {}),
        (TypeError, "targets must be floating point .* got torch.bool", (x, torch.zeros(5, 3).bool()), {}),
        (ValueError, r"weights must be \(5,\) or \(5, 3\), got \(3,\)", (x, ids, torch.ones(3)), {}),
        (TypeError, "mask must be bool, got torch.int64", (x, ids, None, torch.ones(5).long()), {}),
        (ValueError, r"mask must be \(5,\), got \(5, 3\)", (x, ids, None, torch.ones(5, 3).bool()), {}),
        (ValueError, "targets on meta", (x, ids.to("meta")), {}),
        (ValueError, "gamma must be at least 0, got -1", (x, ids), {"gamma": -1}),
        (ValueError, r"label_smoothing must lie in \[0, 1\], got 2", (x, ids), {"label_smoothing": 2}),
        (ValueError, "reduction must be one of", (x, ids), {"reduction": "max"}),
    ]
    for error, message, arguments, keywords in cases:
        with pytest.raises(error, match=message):
            sensitivity_focal_loss(*arguments, **keywords)


def test_second_derivatives_are_refused() -> None:
    logits = random(2, 3).requires_grad_()
    with pytest.raises(NotImplementedError, match="no second derivative"):
        loss = sensitivity_focal_loss(logits, torch.tensor([0, 1]), reduction="sum")
        torch.autograd.grad(loss, logits, create_graph=True)


@pytest.mark.parametrize("reduction", ["none", "mean"])
@pytest.mark.parametrize("sparse", [False, True])
def test_registration(reduction: str, sparse: bool) -> None:
    logits, ids = random(2, 3, 4).requires_grad_(), random_ids(2, 3, classes=4)
    targets = ids if sparse else one_hot(ids, 4)
    weights = random(2, 3, seed=1).exp().requires_grad_()
    mask = torch.tensor([[True, True, False], [True, False, True]])
    given = Operands(
        logits=logits,
        targets=targets,
        weights=weights,
        mask=mask,
        alpha=0.25,
        gamma=2.0,
        label_smoothing=0.1,
        reduction=reduction,
        need_logits=True,
        need_weights=True,
    )
    op = torch.ops.asl_fast.sensitivity_focal_loss.default
    checks.opcheck(op, *given)
    bare = given._replace(logits=logits.detach(), weights=None, mask=None, need_logits=False, need_weights=False)
    checks.opcheck(op, *bare._replace(alpha=-1.0, gamma=0.0, label_smoothing=0.0))


@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_compiles_without_a_graph_break(reduction: str) -> None:
    checks.compiles(
        lambda x, t, w: sensitivity_focal_loss(x, t, w, reduction=reduction),
        random(5, 3).requires_grad_(),
        random_ids(5, classes=3),
        random(5, seed=1).exp().requires_grad_(),
    )


@pytest.mark.parametrize("name", checks.implementations("sensitivity_focal_loss"))
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dense_weights", [False, True])
def test_every_implementation_equals_the_reference(
    name: str, reduction: str, sparse: bool, dtype: torch.dtype, dense_weights: bool
) -> None:
    logits = (4 * random(2, 133, 21, dtype=dtype)).requires_grad_()
    ids = random_ids(2, 133, classes=21)
    targets = ids if sparse else one_hot(ids, 21).to(dtype)
    weights = random(*((2, 133, 21) if dense_weights else (2, 133)), seed=1, dtype=dtype).exp().requires_grad_()
    mask = random(2, 133, seed=2) > -1

    def run(x: Tensor, w: Tensor) -> Tensor:
        dense = targets if sparse else targets.to(x.dtype)
        return sensitivity_focal_loss(x, dense, w, mask, gamma=1.5, label_smoothing=0.1, reduction=reduction)

    with checks.every_call_on(name):
        value, grads = checks.value_and_grads(run, logits, weights)
    double = [t.detach().double().requires_grad_() for t in (logits, weights)]
    with checks.every_call_on("reference"):
        expected, expected_grads = checks.value_and_grads(run, *double)
    tolerance = checks.FLOAT64 if dtype == torch.float64 else {"rtol": 2e-5, "atol": 2e-5}
    torch.testing.assert_close(value.double(), expected, **tolerance)
    for grad, other in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(grad.double(), other, **tolerance)
