# SPDX-License-Identifier: Apache-2.0
"""When the contrastive loss keeps its similarities for the backward pass, and what it gives where it keeps none."""

from __future__ import annotations

import math

import pytest
import torch

from asl_fast import backend
from asl_fast.ops import contrastive_similarity as op
from asl_fast.reference import contrastive_similarity as reference
from tests.ops.test_contrastive_similarity import ON_CPU, operands, scene


def test_similarities_are_kept_for_a_backward_pass_of_triton_alone() -> None:
    features, _, _, mu, sigma = scene(0)
    features, mu, sigma = (x.detach() for x in (features, mu, sigma))
    with backend("triton"):
        assert not op._keeps_similarities(features, mu, sigma)
        mu.requires_grad_()
        assert op._keeps_similarities(features, mu, sigma)
        with torch.no_grad():
            assert not op._keeps_similarities(features, mu, sigma)
    for name in (None, "cuda", "cpu", "reference"):
        with backend(name):
            assert not op._keeps_similarities(features, mu, sigma)


@pytest.mark.parametrize("name", ON_CPU)
def test_who_does_not_keep_similarities_says_so(name: str) -> None:
    features, mask, targets, mu, sigma = scene(0)
    given = operands(features, mask, targets, mu, sigma, None)
    with backend(name):
        few = torch.ops.asl_fast.contrastive_similarity_loss.default(*given._replace(keep_similarities=True))
    kept, count = reference.Outputs(*few).similarities, len(targets.segments)
    assert kept.shape == (3 * count + 3, -(-3 * count // 32) * 32) and bool((kept == math.inf).all())
    many = given._replace(segments=torch.zeros(1025, 2), keep_similarities=True)
    assert many.outputs().similarities.shape == (0,)
