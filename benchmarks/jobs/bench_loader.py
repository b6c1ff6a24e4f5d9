# SPDX-License-Identifier: Apache-2.0
"""One epoch of the training loader over features on disk, beside the training steps that use its batches.

The features are written for the occasion: one .npy a video, as in users' folders, all in one .h5, or packed, each as
float32 and as float16; "memory" keeps them there, as ``--data.cache memory`` does. "cold" drops the files from the
system's page cache before each epoch, "warm" reads them from there. The rate is one of videos; workers are processes
that read. The ratio says how many times longer training takes: the loader is no bottleneck while it stays above 1.
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
from asl_fast.training.freed_memory import keep_freed_memory
from asl_fast.training.loader import TrainLoader
from asl_fast.training.state import ragged_targets
from asl_fast.wording import count
from benchmarks.jobs.bench_training_step import Trainer
from benchmarks.registry import Case, Scale
from benchmarks.shapes import Shape, shape, small_shape

SCRATCH = Path(__file__).resolve().parents[2] / "build"
FPS, STRIDE, WINDOW = 30.0, 4, 16
FORMS = tuple(f"{kind} {dtype}" for kind in (".npy", ".h5", "packed") for dtype in ("float32", "float16"))
MEMORY = "memory"
STATES = ("warm", "cold") if hasattr(os, "posix_fadvise") else ("warm",)
WORKERS = (0, 1, 2, 4)


def settings() -> list[tuple[str, str, int]]:
    """List what a loader is measured with: form of the features, state of the page cache, workers."""
    pairs = [(form, state) for form in FORMS for state in STATES] + [(MEMORY, "warm")]
    return [(*pair, workers) for pair in pairs for workers in WORKERS]


def cases(device: str) -> list[Case]:
    """Declare videos as long as the training crop; cold where the system can be told to forget a file."""
    sizes: list[tuple[Shape, int, Scale]] = [(small_shape(), 4, "small"), (shape("multithumos"), 12, "large")]
    return [
        _case(device, each, videos, form, state, workers, scale)
        for each, videos, scale in sizes
        for form, state, workers in settings()
        if scale == "large" or workers == 0
    ]


def _case(device: str, each: Shape, videos: int, form: str, state: str, workers: int, scale: Scale) -> Case:
    # Steps take the same time whatever the features lie in, and minutes on a CPU.
    beside_steps = scale == "small" or (form, state, workers) == (".npy float32", "warm", 0)

    def make_inputs() -> tuple[Any, ...]:
        loader = make_loader(each, videos, form, workers)
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
        bytes_moved=videos * length * dim * np.dtype(dtype_of(form)).itemsize,
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


def dtype_of(form: str) -> str:
    """Return the dtype that a form of features has on disk; that of memory is float32."""
    return "float32" if form == MEMORY else form.partition(" ")[2]


@lru_cache(maxsize=1)
def _files(videos: int, length: int, dim: int) -> tempfile.TemporaryDirectory[str]:
    """Make a folder with one of every form, removed when other sizes are asked for or Python ends."""
    SCRATCH.mkdir(exist_ok=True)
    folder = tempfile.TemporaryDirectory(prefix="loader-", dir=SCRATCH)
    root, generator = Path(folder.name), np.random.default_rng(0)
    arrays = {f"video_{at:04}": generator.standard_normal((length, dim), dtype=np.float32) for at in range(videos)}
    for dtype in ("float32", "float16"):
        (root / f".npy {dtype}").mkdir()
        for name, array in arrays.items():
            np.save(root / f".npy {dtype}" / f"{name}.npy", array.astype(dtype))
    files = FolderFeatureStore(root / ".npy float32")
    for dtype in ("float32", "float16"):
        pack_features(files, files.video_ids, root / f"packed {dtype}", dtype=dtype)
    return folder


def _store(folder: Path, form: str) -> FolderFeatureStore | Hdf5FeatureStore | PackedFeatureStore:
    if form == MEMORY:
        return FolderFeatureStore(folder / ".npy float32")
    if form.startswith("packed"):
        return PackedFeatureStore(folder / form)
    files = FolderFeatureStore(folder / f".npy {dtype_of(form)}")
    if form.startswith(".npy"):
        return files
    path = folder / f"{dtype_of(form)}.h5"
    if not path.exists():
        import h5py  # who measures the other forms needs none

        with h5py.File(path, "w") as file:
            for array in sorted(files.folder.iterdir()):
                file[array.stem] = np.load(array)
    return Hdf5FeatureStore(path)


def make_loader(each: Shape, videos: int, form: str, workers: int, trains_on: str = "cuda") -> TrainLoader:
    """Make the training loader of a shape over videos as long as its crop.

    Args:
        each: Whose lengths, channels and batch size they have.
        videos: How many.
        form: One of `FORMS`, or `MEMORY`.
        workers: Processes that read.
        trains_on: The device, which nothing here touches: where a CPU trains, what lies in its memory is at hand
            without workers.
    """
    keep_freed_memory()  # as every process that trains
    length, model = each.config.data.max_length, each.config.model
    store = _store(Path(_files(videos, length, model.feature_dim).name), form)
    targets = replace(each, config=replace(each.config, batch_size=1)).targets("cpu")
    grid = FeatureGrid(FPS, STRIDE, WINDOW)
    duration = grid.covered_sec(length)
    segments = (targets.segments.double() * STRIDE / FPS).clamp(max=duration).numpy()
    made = [Video(name, "train", duration, segments, targets.labels.numpy(), FPS) for name in store.video_ids]
    data = replace(each.config.data, num_workers=workers, cache="memory" if form == MEMORY else "off")
    dataset = DetectionDataset(
        made,
        store,
        grid,
        training=True,
        max_length=data.max_length,
        crop_ratio=data.crop_ratio,
        truncation_threshold=data.truncation_threshold,
    )
    device = torch.device(trains_on, 0 if trains_on == "cuda" else None)
    return TrainLoader(dataset, data, each.batch, seed=0, length_multiple=2 ** (model.num_levels - 1), device=device)
