# SPDX-License-Identifier: Apache-2.0
"""The contrastive loss against a frame-by-frame transcription of its definition."""

from __future__ import annotations

import math
import resource
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from asl_fast import backend
from asl_fast.ops.contrastive_similarity import add_contrastive_similarity_loss, contrastive_similarity_loss
from asl_fast.ops.ragged import RaggedTargets
from asl_fast.reference import _contrastive_similarity_info_nce
from asl_fast.reference import contrastive_similarity as reference
from tests.ops import checks

DELTA, TEMPERATURE = 0.2, 0.07
ON_CPU = [x for x in checks.implementations("contrastive_similarity_loss") if x.values[0] in ("reference", "cpu")]


@pytest.fixture(autouse=True, params=ON_CPU)
def implementation(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every test here is answered by the reference and by C++."""
    with backend(request.param):
        yield request.param


def definition(
    features: Tensor, lengths: list[int], targets: RaggedTargets, mu: Tensor, sigma: Tensor, delta: float, tau: float
) -> Tensor:
    """Take the method's four steps, one instance and one frame at a time."""

    def p(kind: int, label: int, distance: float) -> Tensor:
        return torch.exp(-((distance - mu[label, kind]) ** 2) / (2 * sigma[label, kind] ** 2))

    anchors, backgrounds = [], []
    for video, count in enumerate(lengths):
        for g in range(int(targets.video_offsets[video]), int(targets.video_offsets[video + 1])):
            start, end = targets.segments[g].tolist()
            label, centre, length = int(targets.labels[g]), (start + end) / 2, end - start
            inside = [t for t in range(count) if start <= t <= end]
            if not inside:
                nearest = min(range(count), key=lambda t: (abs(t - centre), t))
                if abs(nearest - centre) > 0.5:
                    continue
                inside = [nearest]
            position = {t: min(max((t - centre) / length, -0.5), 0.5) for t in inside}
            peaks = [
                max(inside, key=lambda t: (-abs((t - centre) - float(mu[label, k].detach()) * length), -t))
                for k in range(3)
            ]
            near = [[t for t in inside if abs(t - peak) <= delta * length] for peak in peaks]
            both = sorted({*near[1], *near[2]})
            f_cls = torch.stack([p(0, label, position[t]) * features[video, t] for t in near[0]]).mean(0)
            f_loc = torch.stack(
                [(p(1, label, position[t]) + p(2, label, position[t])) * features[video, t] for t in both]
            ).mean(0)
            anchors += [(label, f_cls), (label, f_loc)]
            margin = delta * length
            around = [t for t in range(count) if start - margin <= t <= start or end <= t <= end + margin]
            if around:
                backgrounds.append(features[video, around].mean(0))

    def sim(a: Tensor, b: Tensor) -> Tensor:
        return torch.exp(torch.dot(a, b) / (a.norm() * b.norm()) / tau)

    losses = []
    for i, (label, anchor) in enumerate(anchors):
        others = [(c, f) for j, (c, f) in enumerate(anchors) if j != i]
        positive = [sim(anchor, f) for c, f in others if c == label]
        negative = [sim(anchor, f) for c, f in others if c != label] + [sim(anchor, f) for f in backgrounds]
        if positive:
            total = torch.stack(positive).sum()
            losses.append(-torch.log(total / (total + sum(negative))))
    return torch.stack(losses).mean() if losses else features.new_zeros(())


def scene(seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, RaggedTargets, Tensor, Tensor]:
    """Three videos: long, without an instance, and short; instances inside one step, at both ends and overlapping."""
    g = torch.Generator().manual_seed(seed)
    features = torch.randn(3, 24, 5, generator=g, dtype=torch.float64).to(dtype)
    mask = torch.arange(24) < torch.tensor([24, 17, 9])[:, None]
    segments = [[2.3, 9.8], [8.0, 16.0], [-1.5, 3.2], [5.2, 5.6], [20.4, 26.0], [0.0, 3.0], [4.1, 8.9], [6.0, 7.0]]
    labels = torch.tensor([0, 1, 0, 2, 3, 1, 2, 0])
    targets = RaggedTargets(torch.tensor(segments), labels, torch.tensor([0, 5, 5, 8]))
    mu = torch.tensor([[0.1, -0.45, 0.3], [-0.3, -0.5, 0.5], [0.03, -0.7, 0.2], [0.4, -0.2, 0.9]], dtype=dtype)
    sigma = 0.2 + torch.rand(4, 3, generator=g, dtype=torch.float64).to(dtype)
    return features, mask, targets, mu, sigma


def operands(
    features: Tensor, mask: Tensor, targets: RaggedTargets, mu: Tensor, sigma: Tensor, base: Tensor | None = None
) -> reference.Operands:
    return reference.Operands(
        features=features,
        mask=mask,
        segments=targets.segments,
        labels=targets.labels,
        video_offsets=targets.video_offsets,
        mu=mu,
        sigma=sigma,
        base=base,
        delta=DELTA,
        temperature=TEMPERATURE,
        weight=0.3,
        keep_similarities=False,
    )


@pytest.mark.parametrize("delta", [0.0, 0.2, 0.45])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_definition(seed: int, delta: float) -> None:
    features, mask, targets, mu, sigma = scene(seed)
    features, mu, sigma = (x.requires_grad_() for x in (features, mu, sigma))
    loss = contrastive_similarity_loss(features, mask, targets, mu, sigma, delta=delta, temperature=TEMPERATURE)
    wanted = definition(features, mask.sum(-1).tolist(), targets, mu, sigma, delta, TEMPERATURE)
    torch.testing.assert_close(loss, wanted, rtol=1e-12, atol=0)
    ours, theirs = (torch.autograd.grad(x, (features, mu, sigma)) for x in (loss, wanted))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_equals_the_plain_reference() -> None:
    features, mask, targets, mu, sigma = scene(7)
    leaves = [x.requires_grad_() for x in (features, mu, sigma)]
    loss = contrastive_similarity_loss(features, mask, targets, mu, sigma)
    plain = reference.plain_loss(operands(features, mask, targets, mu, sigma))
    torch.testing.assert_close(loss, plain, rtol=1e-12, atol=0)
    for a, b in zip(torch.autograd.grad(loss, leaves), torch.autograd.grad(plain, leaves), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("need_grad", [False, True])
def test_opcheck(need_grad: bool) -> None:
    features, mask, targets, mu, sigma = scene(dtype=torch.float32)
    features, mu, sigma, base = (x.requires_grad_(need_grad) for x in (features, mu, sigma, torch.tensor(2.0)))
    given = operands(features, mask, targets, mu, sigma, base)
    results = torch.library.opcheck(torch.ops.asl_fast.contrastive_similarity_loss.default, given)
    assert set(results.values()) == {"SUCCESS"}


def test_compiles_without_a_graph_break() -> None:
    features, mask, targets, mu, sigma = scene(dtype=torch.float32)
    leaves = [x.requires_grad_() for x in (features, mu, sigma)]
    compiled = torch.compile(contrastive_similarity_loss, fullgraph=True, backend="aot_eager")
    loss, wanted = (f(features, mask, targets, mu, sigma) for f in (compiled, contrastive_similarity_loss))
    assert loss.item() == wanted.item()
    for a, b in zip(torch.autograd.grad(loss, leaves), torch.autograd.grad(wanted, leaves), strict=True):
        assert torch.equal(a, b)


def test_second_derivative_is_refused() -> None:
    features, mask, targets, mu, sigma = scene()
    loss = contrastive_similarity_loss(features.requires_grad_(), mask, targets, mu, sigma)
    with pytest.raises(NotImplementedError, match=r"asl_fast\.reference\.contrastive_similarity"):
        torch.autograd.grad(loss, features, create_graph=True)


def test_added_to_another_loss() -> None:
    features, mask, targets, mu, sigma = scene()
    leaves = [x.requires_grad_() for x in (features, mu, sigma)]
    base = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    loss = contrastive_similarity_loss(features, mask, targets, mu, sigma)
    total, same = add_contrastive_similarity_loss(base, 0.3, features, mask, targets, mu, sigma)
    assert same.item() == loss.item()
    torch.testing.assert_close(total, base + 0.3 * loss, rtol=1e-15, atol=0)
    for ours, theirs in ((total, base + 0.3 * loss), (2 * total - same, 2 * base - 0.4 * loss)):
        found = torch.autograd.grad(ours, [*leaves, base], retain_graph=True)
        wanted = torch.autograd.grad(theirs, [*leaves, base], retain_graph=True)
        for a, b in zip(found, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-15)


def test_base_alone_has_a_gradient() -> None:
    features, mask, targets, mu, sigma = scene(dtype=torch.float32)
    base = torch.tensor(1.5, requires_grad=True)
    total, loss = add_contrastive_similarity_loss(base, 0.0, features, mask, targets, mu, sigma)
    assert total.item() == 1.5
    assert loss.item() > 0
    (gradient,) = torch.autograd.grad(total, base)
    assert gradient.item() == 1.0


def test_no_instances_leave_the_other_loss_as_it_is() -> None:
    features, mask, _, mu, sigma = scene(dtype=torch.float32)
    empty = RaggedTargets(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), torch.zeros(4, dtype=torch.int64))
    base = torch.tensor(1.5, requires_grad=True)
    total, loss = add_contrastive_similarity_loss(base, 0.3, features.requires_grad_(), mask, empty, mu, sigma)
    assert (total.item(), loss.item()) == (1.5, 0.0)
    ours = torch.autograd.grad(total, (base, features))
    assert ours[0].item() == 1.0 and torch.count_nonzero(ours[1]) == 0


def test_gradcheck() -> None:
    features, mask, targets, mu, sigma = scene()
    features, mu, sigma = (x.requires_grad_() for x in (features, mu, sigma))
    assert torch.autograd.gradcheck(
        lambda f, m, s: contrastive_similarity_loss(f, mask, targets, m, s, temperature=0.5),
        (features, mu, sigma),
        fast_mode=True,
    )


def test_blocks_change_nothing(implementation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if implementation != "reference":
        pytest.skip("the reference's own blocks")
    features, mask, targets, mu, sigma = scene()
    leaves = [x.requires_grad_() for x in (features, mu, sigma)]
    whole = contrastive_similarity_loss(features, mask, targets, mu, sigma)
    wanted = torch.autograd.grad(whole, leaves)
    monkeypatch.setattr(reference, "BLOCK_ELEMENTS", 60)
    parts = contrastive_similarity_loss(features, mask, targets, mu, sigma)
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=0)
    for a, b in zip(torch.autograd.grad(parts, leaves), wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-13)


def test_no_instances_is_exactly_zero_with_a_graph() -> None:
    features, mask, _, mu, sigma = scene(dtype=torch.float32)
    leaves = [x.requires_grad_() for x in (features, mu, sigma)]
    empty = RaggedTargets(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), torch.zeros(4, dtype=torch.int64))
    loss = contrastive_similarity_loss(features, mask, empty, mu, sigma)
    assert loss.item() == 0.0
    for gradient in torch.autograd.grad(loss, leaves):
        assert torch.count_nonzero(gradient) == 0


def test_instances_beyond_the_valid_frames_take_no_part() -> None:
    features, mask, targets, mu, sigma = scene()
    wanted = contrastive_similarity_loss(features, mask, targets, mu, sigma)
    extra = torch.tensor([[12.0, 20.0], [9.6, 11.0], [5.0, 5.0], [7.0, 6.0]])  # past the end, and without length
    more = RaggedTargets(
        torch.cat([targets.segments, extra]),
        torch.cat([targets.labels, torch.tensor([0, 1, 2, 3])]),
        torch.tensor([0, 5, 5, 12]),
    )
    torch.testing.assert_close(contrastive_similarity_loss(features, mask, more, mu, sigma), wanted, rtol=1e-12, atol=0)


@pytest.mark.parametrize("kept", [8, 5, 0])
def test_padding_gives_the_same_bits(kept: int) -> None:
    """Whatever the rows behind the last video hold."""
    features, mask, targets, mu, sigma = scene(dtype=torch.float32)
    leaves = [x.requires_grad_() for x in (features, mu, sigma)]
    offsets = targets.video_offsets.clamp(max=kept)
    plain = RaggedTargets(targets.segments[:kept], targets.labels[:kept], offsets)
    rows = torch.tensor([[2.0, 9.0], [math.nan, 5.0], [0.0, 0.0], [1.0, math.inf], [3.0, 8.0]])
    labels = torch.tensor([1, -1, 0, 77, 2])
    padded = RaggedTargets(torch.cat([plain.segments, rows]), torch.cat([plain.labels, labels]), offsets)
    base = torch.tensor(1.5)
    found = []
    for given in (plain, padded):
        both = add_contrastive_similarity_loss(base, 0.3, features, mask, given, mu, sigma)
        found.append([*both, *torch.autograd.grad(sum(both), leaves)])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_the_reference_leaves_padding_out_where_it_reads_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: rows of padding stay, and take no part."""
    features, mask, targets, mu, sigma = scene()
    leaves = [x.requires_grad_() for x in (features, mu, sigma)]
    rows, labels = torch.tensor([[2.0, 9.0], [3.0, 8.0]]), torch.tensor([-1, 77])
    padded = targets._replace(segments=torch.cat([targets.segments, rows]), labels=torch.cat([targets.labels, labels]))
    wanted = reference.plain_loss(operands(features, mask, targets, mu, sigma))
    plain = reference.plain_loss(operands(features, mask, padded, mu, sigma))
    monkeypatch.setattr(reference, "_taking_part", lambda segments, offsets: segments.shape[0])
    with backend("reference"):
        loss = contrastive_similarity_loss(features, mask, padded, mu, sigma)
        grads = torch.autograd.grad(loss, leaves)
    for one in (plain, loss):
        torch.testing.assert_close(one, wanted, rtol=1e-12, atol=0)
    for a, b in zip(grads, torch.autograd.grad(wanted, leaves), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_masked_frames_do_not_matter() -> None:
    features, mask, targets, mu, sigma = scene()
    wanted = contrastive_similarity_loss(features, mask, targets, mu, sigma)
    poisoned = torch.where(mask[..., None], features, torch.nan).requires_grad_()
    loss = contrastive_similarity_loss(poisoned, mask, targets, mu, sigma)
    assert loss.item() == wanted.item()
    (gradient,) = torch.autograd.grad(loss, poisoned)
    assert torch.count_nonzero(gradient[~mask]) == 0
    assert gradient.isfinite().all()


def test_zero_features_give_a_finite_loss_and_gradient() -> None:
    features, mask, targets, mu, sigma = scene(dtype=torch.float32)
    zero = torch.zeros_like(features).requires_grad_()
    loss = contrastive_similarity_loss(zero, mask, targets, mu, sigma)
    (gradient,) = torch.autograd.grad(loss, zero)
    assert math.isfinite(loss.item())
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_features_are_computed_in_single(dtype: torch.dtype) -> None:
    features, mask, targets, mu, sigma = scene(dtype=torch.float32)
    half = features.to(dtype).requires_grad_()
    loss = contrastive_similarity_loss(half, mask, targets, mu, sigma)
    same = contrastive_similarity_loss(half.detach().float(), mask, targets, mu, sigma)
    assert loss.dtype == torch.float32
    assert loss.item() == same.item()
    assert torch.autograd.grad(loss, half)[0].dtype == dtype


def test_small_temperature_does_not_overflow() -> None:
    features, mask, targets, mu, sigma = scene(dtype=torch.float32)
    loss = contrastive_similarity_loss(features, mask, targets, mu, sigma, temperature=1e-3)
    assert math.isfinite(loss.item())


def test_anchor_without_positive_is_skipped() -> None:
    # The two features of an instance are of one class, so only info_nce itself can meet such an anchor.
    vectors = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    background = torch.randn(1, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    loss = _contrastive_similarity_info_nce.info_nce(torch.cat([vectors, background]), torch.tensor([0, 0, 1, -1]), 0.5)
    unit = torch.nn.functional.normalize(torch.cat([vectors, background]), dim=-1)
    sim = torch.exp(unit @ unit.T / 0.5)
    wanted = -(torch.log(sim[0, 1] / sim[0, 1:].sum()) + torch.log(sim[1, 0] / (sim[1].sum() - sim[1, 1]))) / 2
    torch.testing.assert_close(loss, wanted, rtol=1e-12, atol=0)


def crowd(count: int, channels: int) -> tuple[Tensor, Tensor, RaggedTargets, Tensor, Tensor]:
    """Two videos of 200 frames with ``count`` instances of 7 classes each."""
    g = torch.Generator().manual_seed(1)
    start = 190 * torch.rand(2 * count, generator=g)
    segments = torch.stack([start, start + 1 + 9 * torch.rand(2 * count, generator=g)], -1)
    labels = torch.randint(7, (2 * count,), generator=g)
    targets = RaggedTargets(segments, labels, torch.tensor([0, count, 2 * count]))
    features = torch.randn(2, 200, channels, generator=g).requires_grad_()
    mu = (torch.tensor([0.0, -0.5, 0.5]).repeat(7, 1) + 0.1 * torch.randn(7, 3, generator=g)).requires_grad_()
    sigma = (0.2 + torch.rand(7, 3, generator=g)).requires_grad_()
    return features, torch.ones(2, 200, dtype=torch.bool), targets, mu, sigma


def test_many_instances_for_any_number_of_threads(implementation: str) -> None:
    features, mask, targets, mu, sigma = crowd(150, 37)
    leaves, before, found = [features, mu, sigma], torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            loss = contrastive_similarity_loss(features, mask, targets, mu, sigma)
            found.append([loss.detach(), *torch.autograd.grad(loss, leaves)])
    finally:
        torch.set_num_threads(before)
    if implementation == "cpu":
        assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    wide = [x.detach().double().requires_grad_() for x in leaves]
    plain = reference.plain_loss(operands(wide[0], mask, targets, *wide[1:]))
    # Exponents reach 1 / 0.07: an error of 1e-7 in a cosine grows fifteenfold.
    for a, b in zip(found[0], [plain, *torch.autograd.grad(plain, wide)], strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-5 * float(b.detach().abs().max()))


def test_memory_is_linear_in_the_instances() -> None:
    features, mask, targets, mu, sigma = crowd(500, 16)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    contrastive_similarity_loss(features, mask, targets, mu, sigma).backward()
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert grown < 4 * (3 * 1000) ** 2, "less than one matrix of similarities; their forward and backward hold several"


def test_bad_arguments() -> None:
    features, mask, targets, mu, sigma = scene()
    with pytest.raises(ValueError, match=r"\(3, 24, 5\) and \(3, 23\)"):
        contrastive_similarity_loss(features, mask[:, 1:], targets, mu, sigma)
    with pytest.raises(ValueError, match="3 videos do not fit features of 2"):
        contrastive_similarity_loss(features[:2], mask[:2], targets, mu, sigma)
    with pytest.raises(ValueError, match=r"\(C, 3\)"):
        contrastive_similarity_loss(features, mask, targets, mu[:, :2], sigma)
    with pytest.raises(ValueError, match="temperature"):
        contrastive_similarity_loss(features, mask, targets, mu, sigma, temperature=0.0)
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 3\], got 1 to 4"):
        contrastive_similarity_loss(features, mask, targets._replace(labels=targets.labels + 1), mu, sigma)
    with pytest.raises(ValueError, match=r"rise from 0 to at most 8, got \[0, 5, 5, 9\]"):
        contrastive_similarity_loss(
            features, mask, targets._replace(video_offsets=torch.tensor([0, 5, 5, 9])), mu, sigma
        )
    with pytest.raises(TypeError, match="int64"):
        add_contrastive_similarity_loss(torch.tensor(1), 0.3, features, mask, targets, mu, sigma)
    with pytest.raises(ValueError, match=r"base must be a scalar, got \(1,\)"):
        add_contrastive_similarity_loss(features.new_zeros(1), 0.3, features, mask, targets, mu, sigma)
    with pytest.raises(TypeError, match="bool"):
        contrastive_similarity_loss(features, mask.float(), targets, mu, sigma)
    with pytest.raises(TypeError, match="int64"):
        contrastive_similarity_loss(features.long(), mask, targets, mu, sigma)
