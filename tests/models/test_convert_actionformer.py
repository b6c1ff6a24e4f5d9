# SPDX-License-Identifier: Apache-2.0
"""ActionFormer's weights give ActionFormer's outputs, losses and gradients."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from asl_fast.models.detector import ActionDetector
from tests.shared import shared_file

VARIANTS = [
    "local9", "global", "local19_T288", "mixedwin_T288", "fpn", "relpe", "abspe", "noln_nodroppath", "multi_input",
    "convbackbone", "abspe_long",
]  # fmt: skip


def load(variant: str) -> tuple[ActionDetector, dict[str, Any], Any]:
    meta = json.loads(shared_file(f"golden/actionformer_forward_{variant}.json").read_text())
    state = torch.load(shared_file(f"golden/actionformer_forward_{variant}.pt"), weights_only=True)
    arrays = np.load(shared_file(f"golden/actionformer_forward_{variant}.npz"))
    return ActionDetector.from_actionformer(state, meta["config"]), meta, arrays


def to_ours(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array).transpose(1, 2)


@pytest.mark.parametrize("variant", VARIANTS)
def test_outputs_equal(variant: str) -> None:
    detector, _meta, arrays = load(variant)
    detector.eval()
    with torch.no_grad():
        out = detector(to_ours(arrays["feats"]), to_ours(arrays["mask"])[..., 0])
    for level in range(detector.config.num_levels):
        mask = torch.from_numpy(arrays[f"fpn_mask_{level}"])[:, 0]
        assert torch.equal(out.masks[level], mask)
        assert torch.equal(out.points[level], torch.from_numpy(arrays[f"points_{level}"]))
        features = to_ours(arrays[f"fpn_feat_{level}"])
        torch.testing.assert_close(out.features[level], features, atol=1e-4, rtol=0)
        torch.testing.assert_close(
            out.logits[level], torch.from_numpy(arrays[f"cls_logits_{level}"]), atol=1e-4, rtol=0
        )
        torch.testing.assert_close(out.offsets[level], torch.from_numpy(arrays[f"offsets_{level}"]), atol=1e-4, rtol=0)
