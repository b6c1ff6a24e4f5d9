# SPDX-License-Identifier: Apache-2.0
"""Annotations, features and samples: everything between files on disk and a batch."""

from asl_fast.data.activitynet_json import read_activitynet_json, write_activitynet_json
from asl_fast.data.benchmarks import load_annotations
from asl_fast.data.collate import Batch, collate
from asl_fast.data.dataset import DetectionDataset, Sample
from asl_fast.data.file_store import open_store
from asl_fast.data.grid import FeatureGrid
from asl_fast.data.load import BENCHMARKS, load_dataset
from asl_fast.data.manifest import MANIFESTS, FeatureManifest
from asl_fast.data.store import FeatureStore, InMemoryFeatureStore
from asl_fast.data.transform import FeatureTransform
from asl_fast.data.types import Annotations, DatasetBundle, Video

__all__ = [
    "BENCHMARKS",
    "MANIFESTS",
    "Annotations",
    "Batch",
    "DatasetBundle",
    "DetectionDataset",
    "FeatureGrid",
    "FeatureManifest",
    "FeatureStore",
    "FeatureTransform",
    "InMemoryFeatureStore",
    "Sample",
    "Video",
    "collate",
    "load_annotations",
    "load_dataset",
    "open_store",
    "read_activitynet_json",
    "write_activitynet_json",
]
