# SPDX-License-Identifier: Apache-2.0
"""ASLLoss against transcriptions of ActionFormer's loss and of the method's equations, and what a user can do to it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from asl_fast import backend
from asl_fast.losses import ASLLoss
from asl_fast.ops.assign_points import assign_points
from asl_fast.ops.ragged import RaggedTargets

CLASSES, DIM = 4, 16
PLAIN: dict[str, Any] = {"class_level": False, "instance_level": False, "contrastive": False}
KEYS = {"total", "cls", "loc", "sensitivity", "fit", "contrastive", "num_positives"}
VIDEOS = [
    ([[3.2, 9.1], [20.3, 41.0], [50.4, 50.8]], [0, 2, 3]),
    ([[5.3, 17.0], [5.3, 17.0], [30.1, 33.7]], [1, 3, 2]),  # two classes tied on the same points
]


class Batch(NamedTuple):
    logits: list[Tensor]
    offsets: list[Tensor]
    features: list[Tensor]
    masks: list[Tensor]
    points: list[Tensor]
    targets: RaggedTargets


def batch(
    seed: int = 0,
    *,
    dtype: torch.dtype = torch.float32,
    lengths: tuple[int, ...] = (64, 45),
    size: int = 64,
    videos: list[Any] | None = None,
    grad: bool = False,
) -> Batch:
    """Two videos on three levels; the same leading values whatever the padded size."""
    videos = VIDEOS if videos is None else videos
    masks, points = [], []
    made: dict[int, list[Tensor]] = {2: [], CLASSES: [], DIM: []}
    for level, (low, high) in enumerate([(0.0, 4.0), (4.0, 8.0), (8.0, 1e4)]):
        stride = 2**level
        time = torch.arange(size // stride) * float(stride)
        points.append(torch.stack([time, *(torch.full_like(time, x) for x in (low, high, stride))], -1))
        masks.append(torch.arange(size // stride) < torch.tensor([n // stride for n in lengths])[:, None])
        for channels, tensors in made.items():
            generator = torch.Generator().manual_seed(100 * seed + 10 * level + channels)
            drawn = torch.randn(128 // stride, 2, channels, generator=generator, dtype=torch.float64)
            tensors.append(drawn[: size // stride].transpose(0, 1).contiguous().to(dtype))
    made[2] = [tensor.abs() for tensor in made[2]]
    pairs = [(torch.tensor(s).reshape(-1, 2), torch.tensor(c, dtype=torch.int64)) for s, c in videos]
    targets = RaggedTargets.from_list(pairs)
    for tensor in (*made[2], *made[CLASSES], *made[DIM]):
        tensor.requires_grad_(grad)
    return Batch(made[CLASSES], made[2], made[DIM], masks, points, targets)


def asl_loss(**options: Any) -> ASLLoss:
    torch.manual_seed(0)
    loss = ASLLoss(CLASSES, DIM, **options)
    if loss.gaussians is not None and loss.class_level:
        with torch.no_grad():
            loss.gaussians.raw_mu.normal_(std=0.2)
            loss.gaussians.raw_sigma.normal_(std=0.5)
    return loss


def focal(logits: Tensor, targets: Tensor) -> Tensor:
    """(N,) summed over classes."""
    probability = torch.sigmoid(logits)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    agreement = probability * targets + (1 - probability) * (1 - targets)
    alpha = 0.25 * targets + 0.75 * (1 - targets)
    return (alpha * (1 - agreement) ** 2 * cross_entropy).sum(-1)


def diou(predicted: Tensor, target: Tensor) -> Tensor:
    a, b = (torch.stack([-x[..., 0], x[..., 1]], -1) for x in (predicted, target))
    inter = torch.minimum(a[..., 1], b[..., 1]) - torch.maximum(a[..., 0], b[..., 0])
    union = a[..., 1] - a[..., 0] + b[..., 1] - b[..., 0] - inter
    hull = torch.maximum(a[..., 1], b[..., 1]) - torch.minimum(a[..., 0], b[..., 0])
    return 1 - inter / union + ((a.sum(-1) - b.sum(-1)) / 2 / hull) ** 2


class Expected(NamedTuple):
    """What the equations need, positives compacted as in ActionFormer."""

    valid: Tensor
    positive: Tensor
    logits: Tensor
    offsets: Tensor
    targets: Tensor
    target_offsets: Tensor
    distance: Tensor
    instance: Tensor


def compact(data: Batch, radius: float | None = 1.5) -> Expected:
    assigned = assign_points(torch.cat(data.points), data.targets, CLASSES, center_sampling_radius=radius)
    valid = torch.cat(data.masks, 1)
    positive = assigned.positive & valid
    dtype = data.logits[0].dtype
    return Expected(
        valid,
        positive,
        torch.cat(data.logits, 1),
        torch.cat(data.offsets, 1)[positive],
        assigned.class_targets.to(dtype),
        assigned.offsets[positive].to(dtype),
        assigned.distance[positive].to(dtype),
        assigned.instance[positive],
    )


@pytest.mark.parametrize("radius", [1.5, None])
@pytest.mark.parametrize("location_weight", [1.0, 0.5, "auto", -1])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_all_off_is_the_loss_of_actionformer(smoothing: float, location_weight: Any, radius: float | None) -> None:
    loss = asl_loss(**PLAIN, label_smoothing=smoothing, location_weight=location_weight, center_sampling_radius=radius)
    normalizer = 100.0
    for step in range(3):
        data = batch(step, dtype=torch.float64, grad=True)
        e = compact(data, radius)
        normalizer = 0.9 * normalizer + 0.1 * max(int(e.positive.sum()), 1)
        targets = e.targets[e.valid] * (1 - smoothing) + smoothing / (CLASSES + 1)
        cls = focal(e.logits[e.valid], targets).sum() / normalizer
        loc = diou(e.offsets, e.target_offsets).sum() / normalizer
        weight = location_weight
        if location_weight in ("auto", -1):
            weight = cls.item() / max(loc.item(), 0.01)
        out = loss(*data)
        assert set(out) == KEYS
        assert loss.loss_normalizer.item() == pytest.approx(normalizer, rel=1e-6)
        assert out["num_positives"].item() == int(e.positive.sum()) > 5
        leaves = [*data.logits, *data.offsets]
        for ours, wanted in ((out["cls"], cls), (out["loc"], loc), (out["total"], cls + weight * loc)):
            assert ours.item() == pytest.approx(wanted.item(), rel=2e-7)  # the normaliser is kept in float32
        ours, wanted = (torch.autograd.grad(x, leaves) for x in (out["total"], cls + weight * loc))
        for a, b in zip(ours, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("normalization", ["none", "batch", "instance"])
@pytest.mark.parametrize("levels", ["p", "q", "p+q"])
def test_weights_and_evaluator_loss_are_those_of_the_method(levels: str, normalization: str) -> None:
    loss = asl_loss(
        class_level="p" in levels, instance_level="q" in levels, contrastive=False, normalization=normalization
    ).eval()
    data = batch(dtype=torch.float64, grad=True)
    loss.double()
    out = loss(*data)
    e = compact(data)
    label = data.targets.labels[e.instance]
    h_cls = h_loc = torch.zeros_like(e.distance)
    sensitivity = torch.zeros((), dtype=torch.float64)
    if loss.class_level:
        assert loss.gaussians is not None
        mu, sigma = loss.gaussians.mu[label], loss.gaussians.sigma[label]
        p = [torch.exp(-((e.distance - mu[:, k]) ** 2) / (2 * sigma[:, k] ** 2)) for k in range(3)]
        h_cls, h_loc = p[0], p[1] + p[2]
    if loss.evaluator is not None:
        q = loss.evaluator(data.features, data.masks)[e.positive]
        logit = e.logits[e.positive].gather(1, label[:, None])[:, 0]
        inter = torch.minimum(e.offsets, e.target_offsets).sum(-1)
        overlap = inter / (e.offsets.sum(-1) + e.target_offsets.sum(-1) - inter)
        sensitivity = F.mse_loss(q[:, 0], logit.sigmoid().detach()) + F.mse_loss(q[:, 1], overlap.detach())
        h_cls, h_loc = h_cls + q[:, 0].detach(), h_loc + q[:, 1].detach()
    if normalization == "batch":
        h_cls, h_loc = h_cls / h_cls.mean(), h_loc / h_loc.mean()
    if normalization == "instance":
        for g in sorted(set(e.instance.tolist())):
            own = e.instance == g
            h_cls = torch.where(own, h_cls / h_cls[own].mean(), h_cls)
            h_loc = torch.where(own, h_loc / h_loc[own].mean(), h_loc)
    weight = torch.ones_like(e.valid, dtype=torch.float64).masked_scatter(e.positive, h_cls)
    cls = (focal(e.logits, e.targets) * weight)[e.valid].sum() / 100
    loc = (diou(e.offsets, e.target_offsets) * h_loc).sum() / 100
    total = cls + loc + sensitivity
    for name, wanted in (("cls", cls), ("loc", loc), ("sensitivity", sensitivity), ("total", total)):
        torch.testing.assert_close(out[name], wanted, rtol=1e-12, atol=0)
    parameters = [*loss.parameters()]
    leaves = [*data.logits, *data.offsets, *parameters]
    ours, theirs = (torch.autograd.grad(x, leaves, allow_unused=True) for x in (out["total"], total))
    for a, b in zip(ours, theirs, strict=True):
        assert a is not None and b is not None
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-14)


def test_constant_weights() -> None:
    data = batch(dtype=torch.float64)
    loss = asl_loss(**PLAIN, constant_weights=(1.5, 2.3)).eval()
    plain = asl_loss(**PLAIN).eval()(*data)
    out = loss(*data)
    e = compact(data)
    extra = 0.5 * focal(e.logits[e.positive], e.targets[e.positive]).sum() / 100
    torch.testing.assert_close(out["cls"], plain["cls"] + extra, rtol=1e-12, atol=0)
    torch.testing.assert_close(out["loc"], 2.3 * plain["loc"], rtol=1e-12, atol=0)
    assert not list(loss.parameters())


SWITCHES: list[dict[str, Any]] = [
    {},
    {"class_level": False},
    {"instance_level": False},
    {"contrastive": False},
    {"branches": ("cls",)},
    {"branches": ("loc",)},
    {"branches": ()},
    {"normalization": "none"},
    {"normalization": "instance"},
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
            assert not loss.class_level
            continue
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        if name.startswith("gaussians"):
            learned = (
                range(3) if loss.contrastive and loss.signal == "loss" else [c for b in branches for c in columns[b]]
            )
            for column in learned:
                assert parameter.grad[:, column].abs().sum() > 0, (name, column)
        else:
            assert parameter.grad.abs().sum() > 0, name
    for tensor in (*data.logits, *data.offsets):
        assert tensor.grad is not None and tensor.grad.isfinite().all()


@pytest.mark.parametrize(
    "options",
    [{}, {"normalization": "none"}, {"normalization": "instance"}, {"signal": "likelihood"}, PLAIN],
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


def test_compiles_without_a_graph_break() -> None:
    options: dict[str, Any] = {"signal": "likelihood", "normalization": "instance"}
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
    assert loss.gaussians is not None and loss.gaussians.raw_mu.grad is not None
    moved = loss.gaussians.raw_mu.grad.abs().sum(1).nonzero()[:, 0].tolist()
    assert moved == [1]


def test_learning_cannot_lower_the_loss_through_the_weights_scale() -> None:
    """The collapse of the unnormalised form: p falls to nothing; normalised by the batch it has no reason to."""
    falls = {}
    for normalization in ("none", "batch", "instance"):
        loss, data = asl_loss(instance_level=False, contrastive=False, normalization=normalization), batch()
        optimizer = torch.optim.Adam(loss.parameters(), lr=0.05)
        first = None
        for _ in range(300):
            optimizer.zero_grad()
            out = loss.eval()(*data)
            first = out["loc"].item() if first is None else first
            out["total"].backward()
            optimizer.step()
        falls[normalization] = out["loc"].item() / first
        assert loss.gaussians is not None
        assert ((loss.gaussians.sigma > 0.1) & (loss.gaussians.sigma < 5)).all()
        assert ((loss.gaussians.mu - loss.gaussians.mu_init).abs() < 0.5).all()
    assert falls["none"] < 0.5
    assert falls["batch"] > 0.5 and falls["instance"] > 0.5


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
    bounds = data.targets.offsets.tolist()
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
