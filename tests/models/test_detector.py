# SPDX-License-Identifier: Apache-2.0
"""The detector does not see padding or batch mates, and refuses what it cannot take."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asl_fast.layers.joined_levels import join_levels
from asl_fast.models.config import DetectorConfig, FrontEndConfig
from asl_fast.models.detector import ActionDetector, DetectorOutput
from asl_fast.models.heads import squareplus
from asl_fast.models.points import LevelPoints, level_points

SMALL = DetectorConfig(feature_dim=10, num_classes=3, width=16, num_levels=3, num_heads=2, attention_windows=(5,))
VARIANTS = {
    "windowed": SMALL,
    "full": replace(SMALL, attention_windows=(0,)),
    "absolute": replace(SMALL, positions="absolute", max_length_grid=16),
    "relative": replace(SMALL, positions="relative"),
    "fpn": replace(SMALL, fpn=True, neck_width=8),
    "later levels": replace(SMALL, num_levels=4, first_level=1, fpn=True),
    "conv": replace(SMALL, backbone="conv"),
    "no norm": replace(SMALL, embedding_norm=False, neck_norm=False, head_norm=False),
    "streams": replace(SMALL, input_splits=(4, 6), projection_dims=(12, 4)),
    "bins": replace(SMALL, num_levels=4, first_level=1, offset_bins=5),
    "own blocks": replace(SMALL, num_levels=4, first_level=1, attention_windows=(3, 5, 3, 3), head_blocks=1, fpn=True),
    "own convolutions": replace(SMALL, backbone="conv", head_blocks=2),
    "split sides": replace(SMALL, attention_sides="split", positions="relative"),
    "split full": replace(SMALL, attention_sides="split", attention_windows=(0,)),
    "front-end": replace(SMALL, feature_dim=12, front_end=FrontEndConfig(6, (3, 2), width=8, kernel_size=5)),
}


def build(config: DetectorConfig, seed: int = 0) -> ActionDetector:
    torch.manual_seed(seed)
    detector = ActionDetector(config).double().eval()
    with torch.no_grad():
        for parameter in detector.parameters():  # biases and layer scales far from their near-zero initial values
            parameter.add_(0.3 * torch.randn_like(parameter))
    return detector


def run(detector: ActionDetector, sequences: list[torch.Tensor], length: int, fill: float = 0.0) -> DetectorOutput:
    features = torch.full((len(sequences), length, detector.config.feature_dim), fill, dtype=torch.float64)
    mask = torch.zeros(len(sequences), length, dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        features[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = True
    with torch.no_grad():
        return detector(features, mask)


def assert_same_video(a: DetectorOutput, row_a: int, b: DetectorOutput, row_b: int) -> None:
    for level in range(len(a.logits)):
        valid = int(a.masks[level][row_a].sum())
        assert valid == int(b.masks[level][row_b].sum())
        for name in ("logits", "offsets", "features"):
            x, y = getattr(a, name)[level][row_a, :valid], getattr(b, name)[level][row_b, :valid]
            torch.testing.assert_close(x, y, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("name", VARIANTS)
@settings(max_examples=8, deadline=None)
@given(length=st.integers(1, 45), extra=st.integers(0, 40), mate=st.integers(1, 50), seed=st.integers(0, 99))
def test_padding_and_batch_mates_do_not_matter(name: str, length: int, extra: int, mate: int, seed: int) -> None:
    detector = build(VARIANTS[name])
    generator = torch.Generator().manual_seed(seed)
    video = torch.randn(length, detector.config.feature_dim, generator=generator, dtype=torch.float64)
    other = torch.randn(mate, detector.config.feature_dim, generator=generator, dtype=torch.float64)
    alone = run(detector, [video], length)
    padded = run(detector, [other, video], max(length, mate) + extra, fill=float("nan"))
    assert_same_video(alone, 0, padded, 1)
    for level, mask in enumerate(padded.masks):
        assert not padded.logits[level][~mask].any()
        assert torch.isfinite(padded.offsets[level]).all()


@pytest.mark.parametrize("activation", ["relu", "squareplus"])
@pytest.mark.parametrize("masked", [False, True])
def test_heads_see_the_levels_one_by_one(masked: bool, activation: Literal["relu", "squareplus"]) -> None:
    """A level ends with zero padding, whatever its neighbours among the joined levels hold."""
    detector = build(replace(SMALL, mask_norms=masked, head_layers=4, offset_activation=activation))
    positive = {"relu": torch.relu, "squareplus": squareplus}[activation]
    generator = torch.Generator().manual_seed(0)
    levels = [torch.randn(2, length, 16, generator=generator, dtype=torch.float64) for length in (12, 6, 3)]
    masks = [torch.arange(x.shape[1]) < torch.tensor([[x.shape[1]], [x.shape[1] // 2]]) for x in levels]
    heads = (detector.classification_head, detector.regression_head)
    joined = join_levels(levels, masks, 1)
    together = [joined.split(head(joined)) for head in heads]
    for level, (x, mask) in enumerate(zip(levels, masks, strict=True)):
        alone = detector.classification_head(join_levels([x], [mask], 1))
        torch.testing.assert_close(together[0][level], alone, rtol=1e-12, atol=1e-12)
        scale = detector.regression_head.scales[level]()
        alone = positive(scale * detector.regression_head.tower(join_levels([x], [mask], 1))) * mask.unsqueeze(-1)
        torch.testing.assert_close(together[1][level], alone, rtol=1e-12, atol=1e-12)


def test_points_of_any_length_device_and_type() -> None:
    config = replace(SMALL, max_length_grid=20)
    points = LevelPoints(config.ranges_grid, config.first_level, config.max_length_grid)
    for lengths in ((20, 10, 5), (4, 2, 1), (40, 20, 10)):
        for made in (points(lengths), LevelPoints(config.ranges_grid, 0, 20).bfloat16()(lengths)):
            wanted = level_points(lengths, config.ranges_grid, torch.device("cpu"))
            assert all(torch.equal(a, b) and a.dtype == torch.float32 for a, b in zip(made, wanted, strict=True))
    assert points((4, 2, 1))[0].data_ptr() == points((20, 10, 5))[0].data_ptr(), "made once"
    assert not points.state_dict()


def test_training_gradients_ignore_padding() -> None:
    detector = build(SMALL)
    video = torch.randn(13, 10, dtype=torch.float64)
    gradients = []
    for length in (13, 40):
        features = torch.zeros(1, length, 10, dtype=torch.float64)
        features[0, :13] = video
        mask = torch.arange(length)[None] < 13
        detector.zero_grad()
        out = detector(features, mask)
        sum((x[m] ** 2).sum() for x, m in zip(out.logits + out.offsets, out.masks * 2, strict=True)).backward()
        gradients.append([p.grad.clone() for p in detector.parameters() if p.grad is not None])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)


def test_levels_halve_and_points_match() -> None:
    out = run(build(SMALL), [torch.randn(21, 10, dtype=torch.float64)], 21)
    assert [x.shape for x in out.logits] == [(1, 24, 3), (1, 12, 3), (1, 6, 3)]
    assert [int(m.sum()) for m in out.masks] == [21, 11, 6]
    for level, points in enumerate(out.points):
        assert points[:, 0].tolist() == [i * 2**level for i in range(24 // 2**level)]
        assert (points[:, 3] == 2**level).all()
    assert out.points[0][0, 1:3].tolist() == [0.0, 4.0]
    assert out.points[2][0, 1:3].tolist() == [8.0, 10000.0]


def test_heads_may_start_at_a_later_level() -> None:
    config = replace(SMALL, num_levels=4, first_level=1)
    out = run(build(config), [torch.randn(21, 10, dtype=torch.float64)], 21)
    assert [x.shape for x in out.logits] == [(1, 12, 3), (1, 6, 3), (1, 3, 3)]
    assert [float(p[1, 0]) for p in out.points] == [2.0, 4.0, 8.0]
    assert [p[0, 1:].tolist() for p in out.points] == [[0.0, 8.0, 2.0], [8.0, 16.0, 4.0], [16.0, 10000.0, 8.0]]


def test_drop_path_only_in_training() -> None:
    detector = build(replace(SMALL, drop_path=0.5))
    video = [torch.randn(16, 10, dtype=torch.float64)]
    assert torch.equal(run(detector, video, 16).logits[0], run(detector, video, 16).logits[0])
    detector.train()
    assert not torch.equal(run(detector, video, 16).logits[0], run(detector, video, 16).logits[0])


def test_classifier_starts_at_the_prior() -> None:
    torch.manual_seed(0)
    detector = ActionDetector(replace(SMALL, prior_probability=0.2, rare_classes=(1,)))
    bias = detector.classification_head.tower.output.bias
    torch.testing.assert_close(bias.sigmoid(), torch.tensor([0.2, 1e-6, 0.2]), rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_classes": 0}, "num_classes"),
        ({"width": 15}, "num_heads"),
        ({"attention_windows": (5, 5)}, "attention_windows"),
        ({"attention_windows": (4,)}, "odd"),
        ({"regression_ranges": ((0.0, 4.0),)}, "regression_ranges"),
        ({"kernel_size": 2}, "kernel_size"),
        ({"first_level": 3}, "first_level"),
        ({"input_splits": (4, 6)}, "projection_dims"),
        ({"input_splits": (4, 4), "projection_dims": (8, 8)}, "feature_dim 10"),
        ({"neck_width": 8}, "fpn"),
        ({"offset_bins": -1}, "offset_bins"),
        ({"head_blocks": -1}, "head_blocks"),
        ({"num_heads": 1, "attention_sides": "split"}, "even model.num_heads, found 1"),
        ({"front_end": FrontEndConfig(4, (2, 2))}, "samples_per_step"),
    ],
)
def test_impossible_configurations(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ActionDetector(replace(SMALL, **change))  # type: ignore[arg-type]


def test_bad_inputs() -> None:
    detector = build(SMALL).float()
    mask = torch.ones(1, 8, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"\(B, T, 10\), found \(1, 10, 8\)"):
        detector(torch.zeros(1, 10, 8), mask)
    with pytest.raises(ValueError, match=r"mask must have shape \(1, 8\)"):
        detector(torch.zeros(1, 8, 10), mask[:, :4])
    with pytest.raises(TypeError, match="bool"):
        detector(torch.zeros(1, 8, 10), mask.float())
    with pytest.raises(TypeError, match="floating point"):
        detector(torch.zeros(1, 8, 10, dtype=torch.int64), mask)
    with pytest.raises(ValueError, match="no time steps"):
        detector(torch.zeros(1, 0, 10), mask[:, :0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision(dtype: torch.dtype) -> None:
    detector = build(SMALL).float()
    features, mask = torch.randn(2, 20, 10), torch.ones(2, 20, dtype=torch.bool)
    with torch.no_grad():
        expected = detector(features, mask)
        found = detector.to(dtype)(features.to(dtype), mask)
    for a, b in zip(expected.logits, found.logits, strict=True):
        assert b.dtype == dtype
        assert (a - b.float()).abs().max() < 0.1 * a.abs().max()


def test_non_contiguous_features() -> None:
    detector = build(SMALL)
    features, mask = torch.randn(2, 10, 20, dtype=torch.float64), torch.ones(2, 20, dtype=torch.bool)
    with torch.no_grad():
        a = detector(features.transpose(1, 2), mask)
        b = detector(features.transpose(1, 2).contiguous(), mask)
    torch.testing.assert_close(a.logits[0], b.logits[0], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", ["windowed", "bins", "split sides", "split full"])
def test_compiles_without_graph_breaks(name: str) -> None:
    detector = build(VARIANTS[name]).float()
    features, mask = torch.randn(2, 16, 10), torch.ones(2, 16, dtype=torch.bool)
    expected = detector(features, mask)
    found = torch.compile(detector, fullgraph=True, backend="aot_eager")(features, mask)
    torch.testing.assert_close(found.logits[1], expected.logits[1])
    torch.testing.assert_close(found.offsets[1], expected.offsets[1])
