# SPDX-License-Identifier: Apache-2.0
"""A data set ready for training: what training and evaluation start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from asl_fast.data.annotations.video import Annotations
from asl_fast.data.dataset import DetectionDataset
from asl_fast.data.grid import FeatureGrid
from asl_fast.data.transform import FeatureTransform


@dataclass(frozen=True, eq=False)
class DatasetBundle:
    """A data set ready for training: both splits, how its features lie in time, and what produced them.

    Args:
        name: Benchmark name, e.g. ``"hapt"``.
        annotations: Raw annotations of every video in either split; the ground truth that scores are computed on.
        train: Training split; crops at random.
        test: Evaluation split; full length.
        class_names: Names by label.
        grid: Grid of a typical video; a sample's own grid is in ``Sample.grid``.
        feature_dim: Channels of a feature vector.
        synthetic: True when the features are generated, not read.
        description: One line for logs and reports: what this is and where it came from.
        transform: Normalisation fitted on the training split, to be saved with the run; None where features are used
            as read.
        metadata: Anything else worth keeping, JSON-serialisable (planted sensitivities, fold, skipped videos).
    """

    name: str
    annotations: Annotations
    train: DetectionDataset
    test: DetectionDataset
    class_names: tuple[str, ...]
    grid: FeatureGrid
    feature_dim: int
    synthetic: bool
    description: str
    transform: FeatureTransform | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)
