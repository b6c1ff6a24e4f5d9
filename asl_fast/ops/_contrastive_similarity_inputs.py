# SPDX-License-Identifier: Apache-2.0
"""The inputs of asl_fast::contrastive_similarity_loss as both compiled modules take them."""

from __future__ import annotations

import torch
from torch import Tensor

from asl_fast.reference._precision import compute_dtype


def contiguous_inputs(
    features: Tensor, mask: Tensor, segments: Tensor, labels: Tensor, offsets: Tensor, mu: Tensor, sigma: Tensor
) -> list[Tensor]:
    """In the order given, contiguous: features and mask as they are, indices int64, the rest in the compute dtype."""
    dtype = compute_dtype(features)
    indices = [x.to(torch.int64).contiguous() for x in (labels, offsets)]
    gaussians = [x.to(dtype).contiguous() for x in (mu, sigma)]
    return [features.contiguous(), mask.contiguous(), segments.to(dtype).contiguous(), *indices, *gaussians]
