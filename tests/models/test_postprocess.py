# SPDX-License-Identifier: Apache-2.0
"""Candidates and detections equal ActionFormer's post-processing; edges of an empty or hopeless output."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from asl_fast.data.grid import FeatureGrid
from asl_fast.models.config import InferenceConfig
from asl_fast.models.detector import DetectorOutput
from asl_fast.models.postprocess import candidates, detect
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
    config = InferenceConfig(
        score_threshold=test["pre_nms_thresh"],
        candidates_per_level=test["pre_nms_topk"],
        min_length_grid=test["duration_thresh"],
        nms={"soft": "gaussian", "hard": "hard", "none": "none"}[test["nms_method"]],
        nms_sigma=test["nms_sigma"],
        nms_iou_threshold=test["iou_threshold"],
        min_score=test["min_score"],
        max_segments=test["max_seg_num"],
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
    found = candidates(output, config)[0]
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
    found = detect(output, grids=[grid], durations_sec=[float(arrays["duration"])], config=config)[0]
    assert found.labels.tolist() == arrays["labels"].tolist()
    torch.testing.assert_close(found.scores, torch.from_numpy(arrays["scores"]), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.segments, torch.from_numpy(arrays["segments"]), atol=1e-4, rtol=1e-5)


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
    together = detect(output, grids=[GRID] * 3, durations_sec=[8.0, 6.0, 4.0], config=InferenceConfig())
    for video, duration_sec in enumerate((8.0, 6.0, 4.0)):
        one = slice(video, video + 1)
        alone = DetectorOutput.from_levels(
            logits=[output.logits[0][one]],
            offsets=[output.offsets[0][one]],
            features=[],
            masks=[output.masks[0][one]],
            points=output.points,
        )
        expected = detect(alone, grids=[GRID], durations_sec=[duration_sec], config=InferenceConfig())[0]
        assert torch.equal(together[video].segments, expected.segments)
        torch.testing.assert_close(together[video].scores, expected.scores, atol=1e-6, rtol=1e-6)
        assert torch.equal(together[video].labels, expected.labels)
        assert together[video].segments.min() >= 0.0
        assert together[video].segments.max() <= duration_sec


@pytest.mark.parametrize("nms", ["gaussian", "linear", "hard", "none"])
def test_nothing_over_the_threshold(nms: str) -> None:
    output = random_output(2, 16, bias=-50.0)
    config = replace(InferenceConfig(), nms=nms)  # type: ignore[arg-type]
    for found in detect(output, grids=[GRID] * 2, durations_sec=[3.2, 3.2], config=config):
        assert found.segments.shape == (0, 2)
        assert found.scores.shape == found.labels.shape == (0,)


def test_padded_points_give_no_candidates() -> None:
    output = random_output(1, 16)
    output.masks[0][:, 5:] = False
    found = candidates(output, InferenceConfig())[0]
    assert len(found.scores) == 5 * 3
