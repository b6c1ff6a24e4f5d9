# SPDX-License-Identifier: Apache-2.0
"""The real shapes of the six benchmarks, from their presets and published statistics, and of two sets of signals."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from asl_fast import RaggedTargets
from asl_fast.data.synthetic.profiles import PROFILES
from asl_fast.models.points import level_points
from asl_fast.training.config import TrainConfig
from asl_fast.training.presets import preset

NAMES = ("thumos14", "multithumos", "charades", "ego4d-mq", "epic100-verb", "epic100-noun", "activitynet13")


@dataclass(frozen=True)
class Shape:
    """A training batch of a benchmark.

    Attributes:
        name: Of the benchmark, with the size where it is not the benchmark's own.
        config: Its training configuration, inputs and outputs filled in.
        instances: Median number of instances of a video.
        length_grid: Median length of an instance, in grid steps.
    """

    name: str
    config: TrainConfig
    instances: int
    length_grid: float

    @property
    def batch(self) -> int:
        """Videos of a batch."""
        return self.config.batch_size

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.config.model.num_classes

    @property
    def lengths(self) -> list[int]:
        """Points of each pyramid level."""
        length, levels = self.config.data.max_length, self.config.model.num_levels
        return [-(-length // 2**level) for level in range(levels)]

    @property
    def num_points(self) -> int:
        """Points of all levels of one video."""
        return sum(self.lengths)

    def points(self, device: str) -> list[Tensor]:
        """Return per level (T_l, 4): time, range low, range high (grid), stride."""
        return level_points(self.lengths, self.config.model.ranges_grid, torch.device(device))

    def targets(self, device: str) -> RaggedTargets:
        """Draw ground truth of a batch: as many instances as the median video has, log-normal lengths, any place."""
        generator = torch.Generator().manual_seed(0)
        length, videos = self.config.data.max_length, []
        for _ in range(self.batch):
            size = self.length_grid * torch.exp(0.6 * torch.randn(self.instances, generator=generator))
            start = torch.rand(self.instances, generator=generator) * (length - size).clamp(min=1)
            labels = torch.randint(self.classes, (self.instances,), generator=generator)
            videos.append((torch.stack((start, (start + size).clamp(max=float(length))), -1), labels))
        return RaggedTargets.from_list(videos, device=device)


def shape(name: str, variant: str | None = None) -> Shape:
    """Return the shape of a benchmark; ``variant`` of the loss as in ``asl_fast.training.presets.VARIANTS``."""
    profile = PROFILES[name]
    config = preset(name, "full", variant)
    dim = sum(config.model.input_splits) or profile.full_feature_dim
    config = config.with_dataset(feature_dim=dim, num_classes=profile.num_classes)
    train = profile.train
    middle = train.lengths.values[len(train.lengths.values) // 2]
    if profile.length_unit == "video":
        length = middle * config.data.max_length
    else:
        length = middle * profile.fps_choices[0][0] / profile.stride_frame
        if profile.fixed_points is not None:
            length = middle / train.video_sec.values[len(train.video_sec.values) // 2] * profile.fixed_points
    counts = train.instances.values
    return Shape(name, config, max(1, round(counts[len(counts) // 2])), length)


def small_shape(name: str = "multithumos", variant: str | None = None) -> Shape:
    """Return a benchmark cut down for tests: 64 points, 4 levels, 2 videos of 6 instances, width 32."""
    full = shape(name, variant)
    model = replace(
        full.config.model,
        feature_dim=16,
        width=32,
        num_heads=4,
        num_levels=4,
        attention_windows=(9,),
        max_length_grid=64,
        regression_ranges=(),
    )
    data = replace(full.config.data, max_length=64, pad_multiple=64)
    return Shape(f"small {name}", replace(full.config, batch_size=2, data=data, model=model), 6, 8.0)


def shapes(variant: str | None = None) -> list[Shape]:
    """Return all benchmarks."""
    return [shape(name, variant) for name in NAMES]


def signal_shapes() -> list[Shape]:
    """Return UCI HAPT and SHREC'22, small models on raw signals; the medians are those of their training recordings.

    In float32, as the rate of arithmetic that they are compared with; where a processor computes in bfloat16 their
    presets take that.
    """
    return [
        _signals("hapt", feature_dim=36, classes=12, steps=3328, instances=20, length_grid=106.0),
        _signals("shrec22", feature_dim=156, classes=16, steps=640, instances=4, length_grid=39.0),
    ]


def _signals(name: str, *, feature_dim: int, classes: int, steps: int, instances: int, length_grid: float) -> Shape:
    config = preset(name).with_dataset(feature_dim=feature_dim, num_classes=classes)
    config = replace(config, precision="fp32", data=replace(config.data, max_length=steps))
    return Shape(name, config, instances, length_grid)
