# SPDX-License-Identifier: Apache-2.0
"""Our NMS behind ActionFormer's function, against what that function itself gave (golden files)."""

from __future__ import annotations

import json

import pytest
import torch

from asl_fast.integrations import actionformer
from asl_fast.integrations.suppression import replace_nms
from tests.shared import golden_arrays, postprocess_cases

CASES = [case for case in postprocess_cases() if not case.endswith("none") and case.startswith("small_")]


@pytest.mark.parametrize("case", CASES)
def test_equals_actionformers_function(case: str) -> None:
    data = golden_arrays(case)
    test = json.loads(str(data["config"]))["test_cfg"]
    segments, scores, labels = actionformer.batched_nms(
        torch.from_numpy(data["pre_segments"]),
        torch.from_numpy(data["pre_scores"]),
        torch.from_numpy(data["pre_labels"]),
        test["iou_threshold"],
        test["min_score"],
        test["max_seg_num"],
        use_soft_nms=test["nms_method"] == "soft",
        multiclass=test["multiclass_nms"],
        sigma=test["nms_sigma"],
        voting_thresh=test["voting_thresh"],
    )
    seconds = segments * float(data["feat_stride"]) + 0.5 * float(data["feat_num_frames"])
    seconds = (seconds / float(data["fps"])).clamp(0.0, float(data["duration"]))
    torch.testing.assert_close(scores, torch.from_numpy(data["scores"]), rtol=1e-6, atol=0)
    assert torch.equal(labels, torch.from_numpy(data["labels"]))
    torch.testing.assert_close(seconds, torch.from_numpy(data["segments"]), rtol=2e-6, atol=2e-6)


def test_a_method_that_suppresses_nothing_is_named() -> None:
    def post_processing() -> None:
        pass

    with pytest.raises(TypeError, match="calls no batched_nms: this is no detector"):
        replace_nms(post_processing, actionformer.batched_nms, "detector")
