# SPDX-License-Identifier: Apache-2.0
"""A small network on raw samples, for data whose features are not computed beforehand."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from asl_fast.models.config import FrontEndConfig
from asl_fast.models.primitives import TemporalConv, apply_mask


class FrontEnd(nn.Module):
    """Strided convolutions from raw samples to one feature vector per grid step.

    Every grid step of the input holds ``samples_per_step`` samples of ``feature_dim / samples_per_step`` channels each.

    Args:
        config: Strides and width of the convolutions.
        feature_dim: Channels of the input, all samples of a step together.
    """

    def __init__(self, config: FrontEndConfig, feature_dim: int) -> None:
        super().__init__()
        self.samples_per_step = config.samples_per_step
        dims = [feature_dim // config.samples_per_step] + [config.width] * len(config.strides)
        self.convs = nn.ModuleList(
            TemporalConv(dims[i], dims[i + 1], config.kernel_size, stride=stride)
            for i, stride in enumerate(config.strides)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(config.width) for _ in config.strides)
        self.strides, self.out_dim = config.strides, config.width

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map x (B, T, feature_dim) with its mask (B, T) to (B, T, width), both zero where padded."""
        x = x.reshape(x.shape[0], x.shape[1] * self.samples_per_step, -1)
        samples = self.samples_per_step
        for conv, norm, stride in zip(self.convs, self.norms, self.strides, strict=True):
            samples //= stride
            x = apply_mask(F.relu(norm(conv(x))), mask.repeat_interleave(samples, dim=1))
        return x
