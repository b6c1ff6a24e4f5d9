# SPDX-License-Identifier: Apache-2.0
"""With imported weights and ASL switched off, losses and gradients are ActionFormer's."""

from __future__ import annotations

import pytest
import torch

from asl_fast import ASLLoss
from asl_fast.models.convert_actionformer import convert_name, convert_tensor
from tests.models.test_convert_actionformer import VARIANTS, load, to_ours

TRAINED = [variant for variant in VARIANTS if variant != "abspe_long"]


@pytest.mark.parametrize("variant", TRAINED)
def test_losses_and_gradients_equal(variant: str) -> None:
    detector, meta, arrays = load(variant)
    detector.train()
    for module in detector.modules():
        if hasattr(module, "probability"):
            module.probability = 0.0  # the golden run switched drop path off and kept its scales
    loss = ASLLoss.from_actionformer(meta["config"]).train()
    features, mask = to_ours(arrays["feats"]), to_ours(arrays["mask"])[..., 0]
    targets = [
        (torch.from_numpy(arrays[f"gt_segments_{b}"]), torch.from_numpy(arrays[f"gt_labels_{b}"])) for b in range(2)
    ]
    # ActionFormer pads every training batch to the longest sequence it was built for.
    pad = meta["config"]["max_seq_len"] - features.shape[1]
    features = torch.nn.functional.pad(features, (0, 0, 0, pad))
    mask = torch.nn.functional.pad(mask, (0, pad))
    out = detector(features, mask)
    terms = loss(out.logits, out.offsets, out.features, out.masks, out.points, targets)
    terms["total"].backward()

    expected = meta["train"]
    assert int(terms["num_positives"]) == expected["num_pos"]
    for ours, theirs in (("cls", "cls_loss"), ("loc", "reg_loss"), ("total", "final_loss")):
        assert float(terms[ours].detach()) == pytest.approx(expected[theirs], rel=1e-5)
    assert float(loss.loss_normalizer) == pytest.approx(expected["loss_normalizer_after"], rel=1e-6)

    gradients = {name: p.grad for name, p in detector.named_parameters()}
    compared = 0
    for key in arrays.files:
        if key.startswith("grad__"):
            name = key.removeprefix("grad__")
            theirs = convert_tensor(name, torch.from_numpy(arrays[key]))
            ours = gradients[convert_name(name)]
            assert ours is not None
            torch.testing.assert_close(ours, theirs, atol=1e-5 * max(1.0, float(theirs.abs().max())), rtol=1e-3)
            compared += 1
    assert compared > 0
    for name, norm in expected["grad_norms"].items():
        ours = gradients[convert_name(name)]
        assert ours is not None
        assert float(ours.norm()) == pytest.approx(norm, rel=1e-3, abs=1e-6)
