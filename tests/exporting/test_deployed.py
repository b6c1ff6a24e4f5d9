# SPDX-License-Identifier: Apache-2.0
"""The detector as one graph: it finds what the detector finds, for every kind of model, length and batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from asl_fast.data.transform import FeatureTransform
from asl_fast.exporting.deployed import DeployedDetector, example_inputs
from asl_fast.exporting.formats import traced
from asl_fast.models.config import DetectorConfig, FrontEndConfig, InferenceConfig
from asl_fast.models.detector import ActionDetector
from asl_fast.models.postprocess import candidates, joined
from asl_fast.ops._local_attention_exported import exported_attention
from asl_fast.reference.local_attention import Operands, unfolded_attention

SMALL = DetectorConfig(
    feature_dim=6, num_classes=3, width=16, num_levels=3, num_heads=2, attention_windows=(7,), max_length_grid=64
)
KINDS = {
    "windowed": SMALL,
    "full attention": replace(SMALL, attention_windows=(0,), positions="absolute"),
    "pyramid": replace(SMALL, fpn=True, positions="relative", first_level=1, num_levels=4),
    "convolutions": replace(SMALL, backbone="conv"),
    "imported": replace(SMALL, mask_norms=False),
    "raw samples": replace(SMALL, feature_dim=8, front_end=FrontEndConfig(samples_per_step=4, strides=(2, 2))),
}
SAMPLES = FeatureTransform(np.array([1.0, -2.0]), np.array([0.5, 3.0]), 4)
needs_exporting = pytest.mark.skipif(
    not hasattr(torch.compiler, "is_exporting"), reason="exporting a graph needs PyTorch 2.7 or newer"
)


def deployed(kind: str) -> DeployedDetector:
    torch.manual_seed(0)
    detector = ActionDetector(KINDS[kind]).eval()
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))  # away from the start, where scores are all alike
    return DeployedDetector(detector, min_length_grid=0.05, transform=SAMPLES if kind == "raw samples" else None)


@pytest.mark.parametrize("length", [9, 64])
@pytest.mark.parametrize("kind", KINDS)
def test_finds_what_the_detector_finds(kind: str, length: int) -> None:
    """Every candidate of a recording that is looked at alone, by its score, at the same time."""
    model = deployed(kind)
    inputs = example_inputs(model, 1, length)
    with torch.no_grad():
        segments, scores = model(*inputs)
    features = inputs[0]
    if kind == "raw samples":
        features = torch.from_numpy(SAMPLES(features[0].double().numpy()))[None]
    mask = torch.ones(features.shape[:2], dtype=torch.bool)
    if kind == "imported":  # its outputs depend on the padding, so it gets the same
        padded = (length + 2 * 32 - 1) // 32 * 32 - length
        features, mask = F.pad(features, (0, 0, 0, padded)), F.pad(mask, (0, padded))
    everything = InferenceConfig(score_threshold=0.0, candidates_per_level=10**6)
    with torch.no_grad():
        output = model.detector(features, mask)
    found = joined(candidates(output, everything)[0])
    order = torch.argsort(found.scores, descending=True)
    mine = scores[0].flatten().sort(descending=True)
    number = len(order)
    assert number > 0 and (mine.values[number:] == 0).all()
    torch.testing.assert_close(mine.values[:number], found.scores[order], rtol=1e-4, atol=1e-6)
    seconds = segments[0][mine.indices[:number] // scores.shape[-1]]
    wanted = 0.25 + 0.5 * found.segments[order].double()
    torch.testing.assert_close(seconds.sort(0).values, wanted.sort(0).values, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "imported"])
def test_neither_padding_nor_its_content_matters(kind: str) -> None:
    model = deployed(kind)
    features, lengths, first_sec, step_sec = example_inputs(model, 2, 40)
    padded = torch.cat([features, torch.full_like(features, torch.nan)], 1)
    with torch.no_grad():
        segments, scores = model(features, lengths, first_sec, step_sec)
        more_segments, more_scores = model(padded, lengths, first_sec, step_sec)
    kept, more_kept = scores[1].amax(-1) > 0, more_scores[1].amax(-1) > 0
    assert kept.sum() == more_kept.sum() > 0
    torch.testing.assert_close(more_scores[1][more_kept], scores[1][kept], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(more_segments[1][more_kept], segments[1][kept], rtol=1e-4, atol=1e-4)


def test_models_without_one_graph_are_refused() -> None:
    detector = ActionDetector(replace(SMALL, positions="absolute", mask_norms=False))
    with pytest.raises(ValueError, match="no one graph for all lengths"):
        DeployedDetector(detector, min_length_grid=0.05)


@needs_exporting
@pytest.mark.parametrize("kind", KINDS)
def test_one_graph_serves_every_batch_and_length(kind: str) -> None:
    model = deployed(kind)
    module = traced(model).module()
    for batch, length in ((1, 1), (1, 64), (3, 193), (2, 1000)):
        inputs = example_inputs(model, batch, length)
        with torch.no_grad():
            found, wanted = module(*inputs), model(*inputs)
        torch.testing.assert_close(found[1], wanted[1], rtol=0, atol=1e-5)
        torch.testing.assert_close(found[0], wanted[0], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("length", [1, 5, 32, 33, 64, 96])
@pytest.mark.parametrize("window", [1, 7, 19, 81])
def test_exported_attention_is_the_formula(window: int, length: int) -> None:
    torch.manual_seed(length)
    q, k, v = (torch.randn(2, 2, length, 4, dtype=torch.float64) for _ in range(3))
    mask = torch.arange(length) < torch.tensor([[length], [max(1, length // 2)]])
    bias = torch.randn(2, window, dtype=torch.float64)
    wanted = unfolded_attention(Operands(q=q, k=k, v=v, mask=mask, bias=bias, window=window))
    torch.testing.assert_close(exported_attention(q, k, v, mask, window // 2, bias), wanted)
