# SPDX-License-Identifier: Apache-2.0
"""From decoded candidates to detections in seconds, against ActionFormer's post-processing (golden files)."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from asl_fast import backend, soft_nms
from tests.ops import checks
from tests.ops.conftest import QUICK
from tests.shared import golden_arrays, postprocess_cases

CASES = [case for case in postprocess_cases() if not case.endswith("none")]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "implementation", [case for case in checks.implementations("soft_nms") if case.values[0] in QUICK]
)
def test_equals_actionformers_postprocessing(case: str, implementation: str) -> None:
    data = golden_arrays(case)
    test = json.loads(str(data["config"]))["test_cfg"]
    labels = torch.from_numpy(data["pre_labels"])
    with backend(implementation):
        result = soft_nms(
            torch.from_numpy(data["pre_segments"]),
            torch.from_numpy(data["pre_scores"]),
            labels if test["multiclass_nms"] else None,
            method="gaussian" if test["nms_method"] == "soft" else "hard",
            sigma=test["nms_sigma"],
            iou_threshold=test["iou_threshold"],
            min_score=test["min_score"],
            max_segments=test["max_seg_num"],
            voting_threshold=None if test["multiclass_nms"] else test["voting_thresh"],
        )
    centre_of_window = 0.5 * float(data["feat_num_frames"])
    seconds = (result.segments * float(data["feat_stride"]) + centre_of_window) / float(data["fps"])
    seconds = seconds.clamp(0.0, float(data["duration"]))
    np.testing.assert_allclose(result.scores, data["scores"], rtol=1e-6)
    np.testing.assert_array_equal(labels[result.indices], data["labels"])
    # The voted boundaries are float32 means of up to thousands of candidates there.
    np.testing.assert_allclose(seconds, data["segments"], rtol=2e-6, atol=2e-6)
