# SPDX-License-Identifier: Apache-2.0
"""Candidates and detections equal ActionFormer's post-processing; edges of an empty or hopeless output."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any, Literal

import numpy as np
import pytest
import torch

from asl_fast.data.grid import FeatureGrid
from asl_fast.models.config import InferenceConfig
from asl_fast.models.detector import DetectorOutput
from asl_fast.models.postprocess import Detections, candidates, detect, joined, with_length
from tests.shared import golden_arrays, postprocess_cases

CASES = postprocess_cases()


def load(case: str) -> tuple[DetectorOutput, InferenceConfig, Any]:
    arrays = golden_arrays(case)
    test = json.loads(str(arrays["config"]))["test_cfg"]
    levels = sum(key.startswith("points_") for key in arrays)

    def stack(name: str) -> list[torch.Tensor]:
        return [torch.from_numpy(arrays[f"{name}_{level}"])[None] for level in range(levels)]

    points = [p[0] for p in stack("points")]
    output = DetectorOutput.from_levels(
        logits=stack("cls_logits"), offsets=stack("offsets"), features=[], masks=stack("mask"), points=points
    )
    agnostic = not test["multiclass_nms"]
    suppresses = test["nms_method"] != "none"
    config = InferenceConfig(
        score_threshold=test["pre_nms_thresh"],
        candidates_per_level=test["pre_nms_topk"],
        min_length_grid=test["duration_thresh"],
        nms={"soft": "gaussian", "hard": "hard", "none": "none"}[test["nms_method"]],
        nms_sigma=test["nms_sigma"],
        nms_iou_threshold=test["iou_threshold"],
        # Without suppression ActionFormer has no limits.
        min_score=test["min_score"] if suppresses else 0.0,
        max_segments=test["max_seg_num"] if suppresses else 0,
        class_agnostic=agnostic,
        # ActionFormer votes in class-agnostic suppression only, whatever its configuration says.
        voting_threshold=test["voting_thresh"] if agnostic else None,
    )
    return output, config, arrays


def in_order_of_time(segments: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((labels, *np.round(segments.T[::-1], 3)))
    return segments[order], order


@pytest.mark.parametrize("case", CASES)
def test_candidates_equal(case: str) -> None:
    output, config, arrays = load(case)
    found = joined(candidates(output, config)[0])
    torch.testing.assert_close(found.scores, torch.from_numpy(arrays["pre_scores"]), atol=1e-6, rtol=1e-6)
    # Neighbours whose scores differ by one rounding may change places, so the rest is compared in order of time.
    ours, order = in_order_of_time(found.segments.numpy(), found.labels.numpy())
    theirs, their_order = in_order_of_time(arrays["pre_segments"], arrays["pre_labels"])
    assert found.labels[order].tolist() == arrays["pre_labels"][their_order].tolist()
    np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_detections_equal(case: str) -> None:
    output, config, arrays = load(case)
    grid = FeatureGrid(float(arrays["fps"]), int(arrays["feat_stride"]), int(arrays["feat_num_frames"]))
    before = candidates(output, config)
    found = detect(before, grids=[grid], durations_sec=[float(arrays["duration"])], config=config)[0]
    order = their_order = np.arange(len(found.scores))
    if config.nms == "none":
        # ActionFormer leaves them level by level then.
        assert found.scores.diff().max() <= 0
        order, their_order = (
            np.lexsort((scores, labels, *np.round(segments.T, 3)))
            for segments, labels, scores in (
                (found.segments.numpy(), found.labels.numpy(), found.scores.numpy()),
                (arrays["segments"], arrays["labels"], arrays["scores"]),
            )
        )
    theirs = {name: torch.from_numpy(arrays[name][their_order]) for name in ("segments", "scores", "labels")}
    assert found.labels[order].tolist() == theirs["labels"].tolist()
    torch.testing.assert_close(found.scores[order], theirs["scores"], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.segments[order], theirs["segments"], atol=1e-4, rtol=1e-5)


def random_output(batch: int, length: int, classes: int = 3, bias: float = 0.0) -> DetectorOutput:
    generator = torch.Generator().manual_seed(length)
    time = torch.arange(length, dtype=torch.float32)
    points = torch.stack((time, torch.zeros(length), torch.full((length,), 1e4), torch.ones(length)), dim=1)
    return DetectorOutput.from_levels(
        logits=[torch.randn(batch, length, classes, generator=generator) + bias],
        offsets=[torch.rand(batch, length, 2, generator=generator) * 4],
        features=[],
        masks=[torch.ones(batch, length, dtype=torch.bool)],
        points=[points],
    )


GRID = FeatureGrid(fps=10.0, stride_frame=2, window_frame=2)


def test_videos_of_a_batch_do_not_touch() -> None:
    output = random_output(3, 40)
    config = InferenceConfig()
    together = detect(candidates(output, config), grids=[GRID] * 3, durations_sec=[8.0, 6.0, 4.0], config=config)
    for video, duration_sec in enumerate((8.0, 6.0, 4.0)):
        one = slice(video, video + 1)
        alone = DetectorOutput.from_levels(
            logits=[output.logits[0][one]],
            offsets=[output.offsets[0][one]],
            features=[],
            masks=[output.masks[0][one]],
            points=output.points,
        )
        found = candidates(alone, config)
        expected = detect(found, grids=[GRID], durations_sec=[duration_sec], config=config)[0]
        assert torch.equal(together[video].segments, expected.segments)
        torch.testing.assert_close(together[video].scores, expected.scores, atol=1e-6, rtol=1e-6)
        assert torch.equal(together[video].labels, expected.labels)
        assert together[video].segments.min() >= 0.0
        assert together[video].segments.max() <= duration_sec


@pytest.mark.parametrize("nms", ["gaussian", "linear", "hard", "none"])
def test_nothing_over_the_threshold(nms: str) -> None:
    output = random_output(2, 16, bias=-50.0)
    config = replace(InferenceConfig(), nms=nms)  # type: ignore[arg-type]
    for found in detect(candidates(output, config), grids=[GRID] * 2, durations_sec=[3.2, 3.2], config=config):
        assert found.segments.shape == (0, 2)
        assert found.scores.shape == found.labels.shape == (0,)


def test_padded_points_give_no_candidates() -> None:
    output = random_output(1, 16)
    output.masks[0][:, 5:] = False
    (found,) = candidates(output, InferenceConfig())[0]
    assert len(found.scores) == 5 * 3


def detections(config: InferenceConfig, duration_sec: float = 8.0) -> Detections:
    return detect(candidates(random_output(1, 40), config), grids=[GRID], durations_sec=[duration_sec], config=config)[
        0
    ]


def test_limits_hold_without_suppression() -> None:
    everything = InferenceConfig(nms="none", min_score=0.0, max_segments=0)
    found = detections(everything)
    assert len(found.scores) == 40 * 3
    assert torch.equal(found.scores, found.scores.sort(descending=True).values)
    few = detections(replace(everything, max_segments=7))
    for field in ("segments", "scores", "labels"):
        assert torch.equal(getattr(few, field), getattr(found, field)[:7])
    limit = float(found.scores[9])
    assert torch.equal(detections(replace(everything, min_score=limit)).scores, found.scores[:10])


@pytest.mark.parametrize("nms", ["hard", "none"])
def test_the_best_of_each_class_stays_below_the_least_score(nms: Literal["hard", "none"]) -> None:
    config = InferenceConfig(nms=nms, min_score=0.999)
    found, everything = detections(config), detections(InferenceConfig(nms="none", max_segments=0))
    best = sorted((float(everything.scores[everything.labels == each].max()) for each in range(3)), reverse=True)
    assert found.scores.tolist() == best


def test_what_the_end_of_the_recording_leaves_no_length_can_be_left_out() -> None:
    config = InferenceConfig(max_segments=0)
    whole, cut = detections(config), detections(config, duration_sec=2.0)
    assert len(cut.scores) == len(whole.scores)
    left = with_length(cut)
    stays = whole.segments[:, 0] < 2.0
    assert 0 < stays.sum() < len(stays)
    assert torch.equal(left.segments, whole.segments[stays].clamp(max=2.0))
    assert torch.equal(left.scores, whole.scores[stays])
    assert torch.equal(left.labels, whole.labels[stays])
    nothing = with_length(detections(config, duration_sec=0.0))
    assert nothing.segments.shape == (0, 2)
    assert nothing.scores.shape == nothing.labels.shape == (0,)


@pytest.mark.parametrize(
    ("nms", "without"),
    [
        ("gaussian", ["nms_iou_threshold"]),
        ("linear", ["nms_sigma"]),
        ("hard", ["nms_sigma"]),
        ("none", ["class_agnostic", "nms_iou_threshold", "nms_sigma", "voting_threshold"]),
    ],
)
def test_options_without_effect_are_named(nms: Any, without: list[str]) -> None:
    config = InferenceConfig(nms=nms)
    found = []
    for name in sorted(field.name for field in fields(config)):
        try:
            config.check_effect([name])
        except ValueError as error:
            assert str(error).startswith(f"--{name.replace('_', '-')} has no effect beside --nms {nms}: leave it out")
            found.append(name)
    assert found == without
