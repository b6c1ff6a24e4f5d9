# SPDX-License-Identifier: Apache-2.0
"""ActionFormer's weights give ActionFormer's outputs, losses and gradients."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from asl_fast.models.convert_actionformer import convert_config
from asl_fast.models.detector import ActionDetector
from tests.models.published import as_published
from tests.shared import LARGE_SETS, golden_arrays, shared_file

ALIKE = ["local9", "global", "fpn", "relpe", "abspe", "noln_nodroppath", "multi_input", "convbackbone", "abspe_long"]
VARIANTS = [f"small_{variant}" for variant in (*ALIKE, "local11", "mixedwin")]
if LARGE_SETS:
    VARIANTS += [*ALIKE, "local19_T288", "mixedwin_T288"]


def load(variant: str) -> tuple[ActionDetector, dict[str, Any], Any]:
    if variant.startswith("small_"):
        arrays = golden_arrays(variant.replace("small_", "small_forward_"))
        meta = json.loads(str(arrays["meta"]))
        start = "state__"
        state = {key.removeprefix(start): torch.from_numpy(arrays[key]) for key in arrays if key.startswith(start)}
        return ActionDetector.from_actionformer(state, meta["config"]), meta, arrays
    meta = json.loads(shared_file(f"golden/actionformer_forward_{variant}.json").read_text())
    state = torch.load(shared_file(f"golden/actionformer_forward_{variant}.pt"), weights_only=True)
    arrays = golden_arrays(f"actionformer_forward_{variant}")
    return ActionDetector.from_actionformer(state, meta["config"]), meta, arrays


def test_whole_checkpoints_and_yaml_files_are_understood() -> None:
    state, config, nested = as_published()
    expected = ActionDetector.from_actionformer(state, config)
    assert len(nested["model"]) < len(config) - 10, "defaults are left out"
    wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
    other = {name: tensor + 1 for name, tensor in wrapped.items()}
    whole = {"epoch": 35, "state_dict": other, "state_dict_ema": wrapped, "optimizer": {"state": {}}, "scheduler": {}}
    for weights, settings in ((whole, nested), (whole, config), ({"state_dict": wrapped}, nested)):
        found = ActionDetector.from_actionformer(weights, settings)
        assert found.config == expected.config
        for name, tensor in expected.state_dict().items():
            assert torch.equal(found.state_dict()[name], tensor), name


def test_defaults_are_actionformers() -> None:
    config = convert_config({"dataset": {}, "model": {}})
    assert (config.feature_dim, config.num_classes, config.max_length_grid) == (2304, 97, 2304)
    assert (config.width, config.num_levels, config.num_heads, config.head_layers) == (512, 6, 4, 3)
    assert (config.dropout, config.drop_path, config.prior_probability) == (0.0, 0.1, 0.01)
    assert set(config.windows) == {0} and config.regression_ranges[-1] == (64.0, 10000.0) and not config.fpn


def test_what_is_no_checkpoint_is_said_in_a_line() -> None:
    state, config, _ = as_published()
    with pytest.raises(ValueError, match=r"expected ActionFormer's weights, .*; 'epoch' is a int"):
        ActionDetector.from_actionformer({"epoch": 3, **state}, config)
    gone = dict(list(state.items())[5:])
    with pytest.raises(ValueError, match="5 parameters are missing, such as") as found:
        ActionDetector.from_actionformer(gone, config)
    assert len(str(found.value)) < 400
    del config["num_classes"]
    with pytest.raises(ValueError, match="lacks 'num_classes'"):
        ActionDetector.from_actionformer(state, config)


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
