# SPDX-License-Identifier: Apache-2.0
"""What a user can do to ASLLoss: switches, degenerate batches, padding, half precision, compilation, bad arguments."""

from __future__ import annotations

import copy
import itertools
import pickle
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from asl_fast import backend
from asl_fast.layers.joined_levels import join_tensors
from asl_fast.losses import ASLLoss
from asl_fast.losses.inputs import join_outputs
from asl_fast.losses.sensitivity import MU_INIT
from tests.losses.scene import CLASSES, DIM, KEYS, PLAIN, Batch, asl_loss, batch

SWITCHES: list[dict[str, Any]] = [
    {},
    {"class_level": False},
    {"instance_level": False},
    {"contrastive": False},
    {"branches": ("cls",)},
    {"branches": ("loc",)},
    {"branches": ()},
    {"normalization": "none"},
    {"detach_quality_features": False},
    {"contrastive_levels": "assigned", "contrastive_memory": 10},
    {"contrastive_levels": "all", "contrastive_positives": "each"},
    {"signal": "likelihood"},
    {"signal": "likelihood", "branches": ("loc",), "contrastive": False},
    PLAIN,
]


@pytest.mark.parametrize("options", SWITCHES, ids=str)
def test_switches_leave_out_their_terms_and_train_every_parameter(options: dict[str, Any]) -> None:
    loss, data = asl_loss(**options), batch(grad=True)
    out = loss(*data)
    torch.testing.assert_close(
        out["total"], out["cls"] + out["loc"] + out["sensitivity"] + out["fit"] + 0.3 * out["contrastive"]
    )
    assert all(value.isfinite() and value.dim() == 0 for value in out.values())
    assert (out["contrastive"] != 0) == options.get("contrastive", True)
    assert (out["sensitivity"] != 0) == (options.get("instance_level", True) and options.get("branches") != ())
    assert (out["fit"] != 0) == (options.get("signal") == "likelihood")
    out["total"].backward()
    columns = {"cls": [0], "loc": [1, 2]}
    branches = options.get("branches", ("cls", "loc"))
    for name, parameter in loss.named_parameters():
        if not parameter.requires_grad:
            assert not loss.config.class_level
            continue
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        if name.startswith("gaussians"):
            through_contrast = loss.config.contrastive and loss.config.signal == "loss"
            learned = range(3) if through_contrast else [c for b in branches for c in columns[b]]
            for column in learned:
                assert parameter.grad[:, column].abs().sum() > 0, (name, column)
        else:
            assert parameter.grad.abs().sum() > 0, name
    for tensor in (*data.logits, *data.offsets):
        assert tensor.grad is not None and tensor.grad.isfinite().all()


def test_joined_levels_are_taken_without_a_copy() -> None:
    data, loss = batch(), asl_loss().eval()
    joined = [torch.cat(levels, 1) for levels in (data.logits, data.offsets, data.masks)]
    wanted, out = (
        loss(*data),
        loss(joined[0], joined[1], data.features, joined[2], torch.cat(data.points), data.targets),
    )
    assert {name: value.item() for name, value in out.items()} == {name: value.item() for name, value in wanted.items()}
    given = join_outputs(joined[0], joined[1], data.features, joined[2], data.points, CLASSES)
    for one, other in zip((given.logits, given.offsets, given.mask), joined, strict=True):
        assert one is other
    assert [tuple(mask.shape) for mask in given.masks] == [(2, 64), (2, 32), (2, 16)]


@pytest.mark.parametrize(
    "options",
    [{}, {"normalization": "none"}, {"signal": "likelihood"}, PLAIN],
    ids=str,
)
def test_gradcheck(options: dict[str, Any]) -> None:
    # L_s and the fit treat predictions as constants, so they are left out where predictions are varied.
    loss = asl_loss(**options, temperature=0.5, evaluator_dim=2).double().eval()
    data = batch(dtype=torch.float64, size=16, lengths=(16, 12), videos=[([[2.2, 8.9]], [0]), ([[3.1, 6.0]], [1])])
    parameters = [p for p in loss.parameters() if p.requires_grad]

    def weighted(logits: Tensor, offsets: Tensor, *_: Tensor) -> Tensor:
        out = loss([logits, *data.logits[1:]], [offsets, *data.offsets[1:]], *data[2:])
        total: Tensor = out["cls"] + out["loc"] + out["contrastive"]
        return total

    constant_h = options in ({"signal": "likelihood"}, PLAIN)
    checked = [] if constant_h else [p for n, p in loss.named_parameters() if n.startswith("gaussians")]
    leaves = (data.logits[0].requires_grad_(), data.offsets[0].requires_grad_(), *checked)
    assert torch.autograd.gradcheck(weighted, leaves, fast_mode=True)
    if parameters:
        # q is detached inside h, so the evaluator's parameters are checked on its own loss.
        assert torch.autograd.gradcheck(
            lambda *_: sum(loss(*data)[name] for name in ("sensitivity", "fit")), tuple(parameters), fast_mode=True
        )


@pytest.mark.parametrize("options", [{}, {"signal": "likelihood"}, PLAIN], ids=str)
def test_batch_without_instances(options: dict[str, Any]) -> None:
    data = batch(videos=[([], []), ([], [])], grad=True)
    loss = asl_loss(**options)
    out = loss(*data)
    assert out["num_positives"].item() == 0
    assert loss.loss_normalizer.item() == pytest.approx(90.1)
    for name in ("loc", "sensitivity", "fit", "contrastive"):
        assert out[name].item() == 0.0
    assert out["total"].item() == out["cls"].item() > 0
    out["total"].backward()
    for tensor in (*data.logits, *data.offsets):
        assert tensor.grad is not None and tensor.grad.isfinite().all()
    for parameter in loss.parameters():
        assert parameter.grad is None or torch.count_nonzero(parameter.grad) == 0


def test_video_without_an_instance_and_one_frame_instances() -> None:
    out = asl_loss()(*batch(videos=[([], []), ([[7.9, 8.1], [20.0, 20.0]], [1, 2])]))
    assert all(value.isfinite() for value in out.values())
    assert out["num_positives"].item() == 1


def test_padding_changes_nothing() -> None:
    loss = asl_loss(signal="likelihood").eval()
    short, long = batch(size=64), batch(size=128)
    for tensors in (long.logits, long.offsets, long.features):
        for tensor, mask in zip(tensors, long.masks, strict=True):
            tensor[~mask] = 1e4
    wanted, padded = loss(*short), loss(*long)
    for name in KEYS:
        torch.testing.assert_close(padded[name], wanted[name], rtol=1e-6, atol=0)


@pytest.mark.parametrize("options", [{}, {"signal": "likelihood"}, {"signal": "evidence", "frame_dim": 5}], ids=str)
def test_padded_instances_change_nothing(options: dict[str, Any]) -> None:
    data, loss = batch(grad=True), asl_loss(contrastive=False, **options).eval()
    frames = torch.randn(2, 64, 5), data.masks[0]
    segments, labels, _ = data.targets
    rows = torch.tensor([[1.0, 40.0], [torch.nan, 2.0]])
    padded = data.targets._replace(
        segments=torch.cat([segments, rows]), labels=torch.cat([labels, torch.tensor([1, -1])])
    )
    leaves = [*data.logits, *data.offsets, *(p for p in loss.parameters() if p.requires_grad)]
    wanted, out = loss(*data, frames), loss(*data[:5], padded, frames)
    assert {name: value.item() for name, value in out.items()} == {name: value.item() for name, value in wanted.items()}
    found, expected = (torch.autograd.grad(total["total"], leaves) for total in (out, wanted))
    assert all(map(torch.equal, found, expected))


def test_joined_levels_may_have_gaps_between_them() -> None:
    data, loss = batch(), asl_loss(evaluator_kernel_size=5).eval()
    for gap in (1, 3):
        logits, offsets, mask = (join_tensors(levels, gap) for levels in (data.logits, data.offsets, data.masks))
        logits = torch.where(mask[..., None], logits, torch.nan)
        between = torch.tensor([[0.0, 1.0, 0.0, 1.0]]).expand(gap, 4)
        points = torch.cat([piece for level in data.points for piece in (level, between)][:-1])
        wanted = loss(*data)
        out = loss(logits, offsets, data.features, data.masks, points, data.targets, joined_mask=mask)
        for name in KEYS:
            torch.testing.assert_close(out[name], wanted[name], rtol=1e-6, atol=0)
    with pytest.raises(ValueError, match=r"joined_mask must have the 112 places .* got \(2, 113\)"):
        loss(logits, offsets, data.features, data.masks, points, data.targets, joined_mask=mask[:, :113])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype: torch.dtype) -> None:
    loss = asl_loss().eval()
    half = batch(dtype=dtype, grad=True)
    same = half._replace(
        logits=[x.detach().float() for x in half.logits], offsets=[x.detach().float() for x in half.offsets]
    )
    with torch.autocast("cpu", dtype):
        out, wanted = loss(*half), loss(*same)
    for name in KEYS - {"num_positives"}:
        assert out[name].dtype == torch.float32
        assert out[name].item() == wanted[name].item()
    out["total"].backward()
    assert half.logits[0].grad is not None and half.logits[0].grad.dtype == dtype


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"signal": "likelihood", "normalization": "none"}], ids=str)
def test_compiles_without_a_graph_break(options: dict[str, Any]) -> None:
    data = batch(grad=True)
    eager, traced = asl_loss(**options), asl_loss(**options)
    compiled = torch.compile(traced, fullgraph=True, backend="aot_eager")
    wanted, out = eager(*data), compiled(*data)
    for name in KEYS:
        torch.testing.assert_close(out[name], wanted[name], rtol=1e-6, atol=1e-7)
    assert traced.loss_normalizer.item() == eager.loss_normalizer.item() != 100
    leaves = [*data.logits, *data.offsets, *data.features]
    for a, b in zip(
        torch.autograd.grad(out["total"], leaves, allow_unused=True),
        torch.autograd.grad(wanted["total"], leaves, allow_unused=True),
        strict=True,
    ):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-8)


def test_normalizer_moves_in_training_with_gradients_only() -> None:
    loss, data = asl_loss(), batch()
    with torch.no_grad():
        loss(*data)
    loss.eval()(*data)
    assert loss.loss_normalizer.item() == 100
    first = loss.train()(*data)
    assert loss.loss_normalizer.item() == pytest.approx(90 + 0.1 * first["num_positives"].item())
    assert "loss_normalizer" in loss.state_dict()


def test_ties_take_the_first_instance_and_weight_all_classes() -> None:
    data = batch(dtype=torch.float64, videos=[([[5.3, 17.0], [5.3, 17.0]], [1, 3]), ([], [])], grad=True)
    loss = asl_loss(instance_level=False, contrastive=False, normalization="none").double().eval()
    loss(*data)["total"].backward()
    assert loss.gaussians is not None and loss.gaussians.mu_bias.grad is not None
    moved = loss.gaussians.mu_bias.grad.abs().sum(1).nonzero()[:, 0].tolist()
    assert moved == [1]


def test_learning_cannot_lower_the_loss_through_the_weights_scale() -> None:
    """The collapse of the unnormalised form: p falls to nothing; normalised by the batch it has no reason to."""
    falls = {}
    for normalization in ("none", "batch"):
        loss, data = asl_loss(instance_level=False, contrastive=False, normalization=normalization), batch()
        optimizer = torch.optim.Adam(loss.parameters(), lr=0.3)
        first = None
        for _ in range(50):
            optimizer.zero_grad()
            out = loss.eval()(*data)
            first = out["loc"].item() if first is None else first
            out["total"].backward()
            optimizer.step()
        falls[normalization] = out["loc"].item() / first
        assert loss.gaussians is not None
        assert ((loss.gaussians.sigma > 0.1) & (loss.gaussians.sigma < 5)).all()
        assert ((loss.gaussians.mu - torch.tensor(MU_INIT)).abs() < 0.5).all()
    assert falls["none"] < 0.5
    assert falls["batch"] > 0.5


def test_likelihood_fits_the_gaussians_alone() -> None:
    loss, data = asl_loss(signal="likelihood"), batch(grad=True)
    out = loss(*data)
    assert loss.gaussians is not None
    gaussians = list(loss.gaussians.parameters())
    others = torch.autograd.grad(
        out["total"] - out["fit"], gaussians, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    assert all(torch.count_nonzero(gradient) == 0 for gradient in others)
    predictions = torch.autograd.grad(out["fit"], [*data.logits, *data.offsets], allow_unused=True, retain_graph=True)
    assert all(gradient is None or torch.count_nonzero(gradient) == 0 for gradient in predictions)


def test_list_of_targets_and_joined_points_are_the_same() -> None:
    data, loss = batch(), asl_loss().eval()
    bounds = data.targets.video_offsets.tolist()
    pairs = [(data.targets.segments[a:b], data.targets.labels[a:b]) for a, b in pairwise(bounds)]
    wanted, out = loss(*data), loss(*data[:4], torch.cat(data.points), pairs)
    assert {name: value.item() for name, value in out.items()} == {name: value.item() for name, value in wanted.items()}


def test_finest_level_of_another_stride() -> None:
    """Targets are in grid units and the contrastive loss in frames, whatever the finest stride."""
    data, loss = batch(), asl_loss().eval()
    scaled = data._replace(
        points=[torch.cat([p[:, :3] * 2, p[:, 3:] * 2], 1) for p in data.points],
        targets=data.targets._replace(segments=data.targets.segments * 2),
    )
    wanted, out = loss(*data), loss(*scaled)
    for name in KEYS:
        torch.testing.assert_close(out[name], wanted[name], rtol=1e-5, atol=1e-6)


def test_backend_can_be_forced() -> None:
    data, loss = batch(), asl_loss().eval()
    with backend("reference"):
        out = loss(*data)
    assert out["total"].item() == pytest.approx(loss(*data)["total"].item(), rel=1e-6)


def test_bad_arguments_are_named() -> None:
    for options, message in (
        ({"normalization": "sum"}, "'sum'"),
        ({"normalization": "instance"}, "'instance'"),
        ({"signal": "none"}, "'none'"),
        ({"branches": ("cls", "box")}, "'box'"),
        ({"constant_weights": (1.0, 1.0)}, "class_level=instance_level=False"),
        ({"location_weight": "balanced"}, "'balanced'"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"loss_norm_momentum": 1.5}, "loss_norm_momentum"),
    ):
        with pytest.raises(ValueError, match=message):
            ASLLoss(CLASSES, DIM, **options)


def test_mismatched_inputs_are_named() -> None:
    data, loss = batch(), asl_loss()
    with pytest.raises(ValueError, match="3, 2, 3 and 3"):
        loss(data.logits, data.offsets[:2], *data[2:])
    with pytest.raises(ValueError, match=r"logits\[1\] must be \(2, 32, 4\)"):
        loss([data.logits[0], data.logits[1][..., :3], data.logits[2]], *data[1:])
    with pytest.raises(ValueError, match=r"points of all levels must be \(112, 4\), got \(96, 4\)"):
        loss(*data[:4], data.points[:2], data.targets)
    with pytest.raises(ValueError, match=r"features\[2\] must begin with \(2, 16\)"):
        loss(data.logits, data.offsets, [*data.features[:2], data.features[1]], *data[3:])
    with pytest.raises(ValueError, match=r"logits of all levels must be \(2, 112, 4\), got \(2, 64, 4\)"):
        loss(data.logits[0], *data[1:])
    with pytest.raises(ValueError, match="all joined, 2, 3 and 3"):
        loss(torch.cat(data.logits, 1), data.offsets[:2], *data[2:])


@pytest.mark.parametrize(("options", "expected"), [({}, True), ({"class_level": False}, False), (PLAIN, False)])
def test_parameters_that_must_not_decay_are_the_trained_gaussians(options: dict[str, Any], expected: bool) -> None:
    loss = asl_loss(**options)
    trained = set(loss.gaussians.parameters()) if expected and loss.gaussians is not None else set()
    assert set(loss.no_weight_decay_parameters()) == trained
    assert bool(trained) == expected


@pytest.mark.parametrize("use_reentrant", [False, True])
@pytest.mark.parametrize("options", [{}, PLAIN], ids=["asl", "plain"])
def test_checkpointing_moves_the_normalizer_once_and_leaves_the_gradient(
    options: dict[str, Any], use_reentrant: bool
) -> None:
    """Recomputing a pass is no step of training: two steps end as they do without it."""

    def steps(checkpointed: bool) -> tuple[list[float], list[Tensor]]:
        loss, normalizers, gradients = asl_loss(**options), [], []
        for seed in (0, 1):
            data = batch(seed, grad=True)

            def run(logits: Tensor, data: Batch = data) -> Tensor:
                return loss([logits, *data.logits[1:]], *data[1:])["total"]

            first = data.logits[0]
            total = checkpoint(run, first, use_reentrant=use_reentrant) if checkpointed else run(first)
            total.backward()
            normalizers.append(float(loss.loss_normalizer))
            gradients.append(data.logits[0].grad)
        return normalizers, gradients

    (normal, expected), (moved, found) = steps(False), steps(True)
    assert moved == normal
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("form", ["ragged", "list", "the same twice"])
def test_several_passes_before_one_backward_are_run_again_with_their_own_normalizers(form: str) -> None:
    """Gradients are accumulated over passes whose N differ; running them again uses the N that each had."""

    def gradients(checkpointed: bool) -> tuple[float, list[Tensor]]:
        loss = asl_loss(init_loss_norm=5.0, loss_norm_momentum=0.3)
        batches = [batch(seed, grad=True) for seed in (0, 1, 2)]
        if form == "the same twice":
            batches = [data._replace(targets=batches[0].targets) for data in batches]
        total = torch.zeros(())
        for data in batches:
            ragged = data.targets
            pieces = [
                (ragged.segments[a:b], ragged.labels[a:b]) for a, b in itertools.pairwise(ragged.video_offsets.tolist())
            ]
            targets = pieces if form == "list" else ragged

            def run(logits: Tensor, data: Batch = data, targets: Any = targets) -> Tensor:
                return loss([logits, *data.logits[1:]], *data[1:5], targets)["total"]

            first = data.logits[0]
            total = total + (checkpoint(run, first, use_reentrant=False) if checkpointed else run(first))
        total.backward()
        return float(loss.loss_normalizer), [data.logits[0].grad for data in batches]

    (normal, expected), (moved, found) = gradients(False), gradients(True)
    assert moved == normal
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_loss_that_has_run_is_copied_and_pickled() -> None:
    loss, data = asl_loss(), batch(grad=True)
    before = float(loss(*data)["total"].detach())
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        other.loss_normalizer.fill_(float(asl_loss().loss_normalizer))
        assert float(other(*data)["total"].detach()) == before
