# SPDX-License-Identifier: Apache-2.0
"""Annotations, features and samples: everything between files on disk and a batch."""

from asl_fast.data.collate import Batch, collate
from asl_fast.data.dataset import DetectionDataset, Sample
from asl_fast.data.grid import FeatureGrid
from asl_fast.data.load import BENCHMARKS, load_dataset
from asl_fast.data.store import FeatureStore, InMemoryFeatureStore
from asl_fast.data.transform import FeatureTransform
from asl_fast.data.types import Annotations, DatasetBundle, Video

__all__ = [
    "BENCHMARKS",
    "Annotations",
    "Batch",
    "DatasetBundle",
    "DetectionDataset",
    "FeatureGrid",
    "FeatureStore",
    "FeatureTransform",
    "InMemoryFeatureStore",
    "Sample",
    "Video",
    "collate",
    "load_dataset",
]
