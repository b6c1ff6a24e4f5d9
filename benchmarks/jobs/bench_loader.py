# SPDX-License-Identifier: Apache-2.0
"""One epoch of the training loader over features on disk, beside the training steps that use its batches.

The features are written for the occasion: one .npy a video, as in users' folders, all in one .h5, or packed as float32
or float16; "memory" keeps them there, as ``--data.cache memory`` does. "cold" drops the files from the system's page
cache before each epoch, "warm" reads them from there. The rate is one of videos; workers are processes that read. The
ratio says how many times longer training takes: the loader is no bottleneck while it stays above 1.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asl_fast.data.annotations.video import Video
from asl_fast.data.collate import Batch
from asl_fast.data.dataset import DetectionDataset
from asl_fast.data.features.folder_store import FolderFeatureStore
from asl_fast.data.features.hdf5_store import Hdf5FeatureStore
from asl_fast.data.features.packed_store import DATA, PackedFeatureStore
from asl_fast.data.features.packing import pack_features
from asl_fast.data.grid import FeatureGrid
from asl_fast.training.loader import TrainLoader
from asl_fast.training.state import ragged_targets
from asl_fast.wording import count
from benchmarks.jobs.bench_training_step import Trainer
from benchmarks.registry import Case, Scale
from benchmarks.shapes import Shape, shape, small_shape

SCRATCH = Path(__file__).resolve().parents[2] / "build"
FPS, STRIDE, WINDOW = 30.0, 4, 16
HDF5 = "features.h5"
FORMS = {
    "files": "float32",
    "hdf5": "float32",
    "packed float32": "float32",
    "packed float16": "float16",
    "memory": "float32",
}


def cases(device: str) -> list[Case]:
    """Declare videos as long as the training crop; cold where the system can be told to forget a file."""
    states = ("warm", "cold") if hasattr(os, "posix_fadvise") else ("warm",)
    sizes: list[tuple[Shape, int, Scale]] = [(small_shape(), 4, "small"), (shape("multithumos"), 12, "large")]
    return [
        _case(device, each, videos, form, state, workers, scale)
        for each, videos, scale in sizes
        for form in FORMS
        for state in states
        if not (form == "memory" and state == "cold")
        for workers in ((0, 1, 2, 4) if scale == "large" else (0,))
    ]


def _case(device: str, each: Shape, videos: int, form: str, state: str, workers: int, scale: Scale) -> Case:
    # Steps take the same time whatever the features lie in, and minutes on a CPU.
    beside_steps = scale == "small" or (form, state, workers) == ("files", "warm", 0)

    def make_inputs() -> tuple[Any, ...]:
        loader = _loader(each, videos, form, workers)
        # All of an epoch, so that workers have started and the checksums of a packed store are compared.
        batch = list(loader.epoch(0))[-1].to(device)
        return loader, Trainer(each, device) if beside_steps else None, batch

    def prepare(loader: TrainLoader, *_: object) -> None:
        if state == "cold":
            forget(loader)

    length, dim = each.config.data.max_length, each.config.model.feature_dim
    return Case(
        f"{each.name}, {form}, {state}, {count(workers, 'worker')}: {videos} videos of {length} x {dim}",
        make_inputs,
        epoch,
        {"training steps": steps} if beside_steps else {},
        bytes_moved=videos * length * dim * np.dtype(FORMS[form]).itemsize,
        items=videos,
        scale=scale,
        compiled=None,
        prepare=prepare,
        agree=None,
    )


def epoch(loader: TrainLoader, trainer: Trainer | None, batch: Batch) -> int:
    """Read, crop and pad every video once."""
    return sum(len(each) for each in loader.epoch(0))


def steps(loader: TrainLoader, trainer: Trainer, batch: Batch) -> float:
    """Take as many training steps as an epoch has batches, all on one batch that is there already."""
    losses = [trainer(batch.features, batch.mask, ragged_targets(batch)) for _ in range(len(loader))]
    return float(losses[-1])  # waits for the device


def forget(loader: TrainLoader) -> None:
    """Write back and drop the pages of every feature file."""
    store = loader.dataset.store
    assert isinstance(store, (FolderFeatureStore, Hdf5FeatureStore, PackedFeatureStore))
    if isinstance(store, PackedFeatureStore):
        paths = [store.folder / DATA]
    else:
        paths = sorted({path for video in store.video_ids for path in store.source_files(video)})
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


@lru_cache(maxsize=1)
def _files(videos: int, length: int, dim: int) -> tempfile.TemporaryDirectory[str]:
    """Make a folder of .npy files and their packed stores, removed when other sizes are asked for or Python ends."""
    SCRATCH.mkdir(exist_ok=True)
    folder = tempfile.TemporaryDirectory(prefix="loader-", dir=SCRATCH)
    generator = np.random.default_rng(0)
    arrays = Path(folder.name) / "files"
    arrays.mkdir()
    for index in range(videos):
        np.save(arrays / f"video_{index:04}.npy", generator.standard_normal((length, dim), dtype=np.float32))
    files = FolderFeatureStore(arrays)
    for form in ("packed float32", "packed float16"):
        pack_features(files, files.video_ids, Path(folder.name) / form, dtype=FORMS[form])
    return folder


def _hdf5(files: FolderFeatureStore) -> Hdf5FeatureStore:
    """Put the arrays of a folder into one file beside it."""
    path = files.folder.with_name(HDF5)
    if not path.exists():
        import h5py  # who measures the other forms needs none

        with h5py.File(path, "w") as file:
            for video in files.video_ids:
                file[video] = files.load(video)
    return Hdf5FeatureStore(path)


def _loader(each: Shape, videos: int, form: str, workers: int) -> TrainLoader:
    length, model = each.config.data.max_length, each.config.model
    folder = Path(_files(videos, length, model.feature_dim).name)
    files = FolderFeatureStore(folder / "files")
    store: FolderFeatureStore | Hdf5FeatureStore | PackedFeatureStore = files
    if form == "hdf5":
        store = _hdf5(files)
    elif form not in ("files", "memory"):
        store = PackedFeatureStore(folder / form)
    targets = replace(each, config=replace(each.config, batch_size=1)).targets("cpu")
    grid = FeatureGrid(FPS, STRIDE, WINDOW)
    duration = grid.covered_sec(length)
    segments = (targets.segments.double() * STRIDE / FPS).clamp(max=duration).numpy()
    made = [Video(name, "train", duration, segments, targets.labels.numpy(), FPS) for name in store.video_ids]
    data = replace(each.config.data, num_workers=workers, cache="memory" if form == "memory" else "off")
    dataset = DetectionDataset(
        made,
        store,
        grid,
        training=True,
        max_length=data.max_length,
        crop_ratio=data.crop_ratio,
        truncation_threshold=data.truncation_threshold,
    )
    # As for a GPU, which nothing here touches: where a CPU trains, what lies in its memory is at hand without workers.
    trains_on = torch.device("cuda", 0)
    return TrainLoader(dataset, data, each.batch, seed=0, length_multiple=2 ** (model.num_levels - 1), device=trains_on)
