# SPDX-License-Identifier: Apache-2.0
"""``python benchmarks/padding.py``: the share of padding in the training batches of every benchmark, by its lengths.

The lengths are those of the benchmark's synthetic twin at full size, which has the real ones' distribution, or with
``--data-root`` those of the real data. Nothing is trained and no feature is read, unless ``--train N`` asks for the
time of an epoch: whole epochs, loading included, once shuffled and once in buckets, in turn, N times. It is processor
time, which other programs do not change much; the ratio is the median of that of each pair of epochs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

if __package__ in (None, ""):  # started as a file: the checkout, not its folder benchmarks, holds the modules
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch

from asl_fast.data.bundle import DatasetBundle
from asl_fast.data.collate import padded_length
from asl_fast.data.dataset import DetectionDataset
from asl_fast.training.config import TrainConfig
from asl_fast.training.data import load
from asl_fast.training.loader import TrainLoader
from asl_fast.training.presets import preset
from asl_fast.training.state import ragged_targets
from benchmarks.jobs.bench_training_step import Trainer
from benchmarks.shapes import NAMES, Shape

EPOCHS = 3


class EpochTimes(NamedTuple):
    """Seconds of the processor for an epoch, medians.

    Attributes:
        shuffled: Batches of any lengths.
        bucketed: Batches of like lengths.
        ratio: The second over the first.
    """

    shuffled: float
    bucketed: float
    ratio: float


def epoch_times(config: TrainConfig, bundle: DatasetBundle, rounds: int) -> EpochTimes:
    """Train epochs of both kinds in turn, each kind with weights of its own."""
    config = config.with_dataset(feature_dim=bundle.feature_dim, num_classes=len(bundle.class_names))
    sides = []
    for bucket in (False, True):
        data = replace(config.data, bucket_by_length=bucket, num_workers=0)
        shape = Shape(config.dataset, replace(config, data=data, precision="fp32"), 1, 1.0)
        multiple = 2 ** (config.model.num_levels - 1)
        device = torch.device("cpu")
        loader = TrainLoader(bundle.train, data, config.batch_size, seed=0, length_multiple=multiple, device=device)
        sides.append((loader, Trainer(shape, "cpu")))
    found: list[list[float]] = [[], []]
    for epoch in range(rounds + 1):
        for (loader, trainer), seconds in zip(sides, found, strict=True):
            start = time.process_time()
            for number, batch in enumerate(loader.epoch(epoch)):
                trainer(batch.features, batch.mask, ragged_targets(batch))
                if epoch == 0 and number == 2:  # the first steps fetch memory and code, and do not count
                    break
            seconds.append(time.process_time() - start)
    shuffled, bucketed = (each[1:] for each in found)
    ratios = [b / a for a, b in zip(shuffled, bucketed, strict=True)]
    return EpochTimes(*(statistics.median(each) for each in (shuffled, bucketed, ratios)))


def padded_and_all(config: TrainConfig, dataset: DetectionDataset, epochs: int = EPOCHS) -> tuple[int, int]:
    """Count the grid steps that are padding, and all, in the batches of some epochs."""
    multiple = 2 ** (config.model.num_levels - 1)
    data = replace(config.data, cache="off", num_workers=0)
    loader = TrainLoader(dataset, data, config.batch_size, seed=config.seed, length_multiple=multiple)
    held = total = 0
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        lengths = dataset.sample_lengths(epoch)
        for batch in loader.sampler:
            held += int(lengths[batch].sum())
            total += len(batch) * padded_length(int(lengths[batch].max()), **loader.padding)
    return total - held, total


def main(arguments: Sequence[str]) -> int:
    """Print a line per data set; return the exit status."""
    parser = argparse.ArgumentParser(prog="python benchmarks/padding.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", nargs="+", default=list(NAMES), metavar="NAME", help="those that are counted")
    parser.add_argument("--data-root", default=None, metavar="DIR", help="of the real data")
    parser.add_argument("--preset", default="full", help="size of the preset")
    parser.add_argument(
        "--train", type=int, default=0, metavar="N", help="also time N epochs of each, after a few steps"
    )
    parser.add_argument(
        "--width", type=int, default=0, metavar="W", help="of the detector that is timed; 0: the preset's"
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of the processor")
    request = parser.parse_args(arguments)
    if min(request.train, request.width) < 0 or request.threads < 1:
        parser.error("--train and --width must not be negative, --threads must be positive")
    torch.set_num_threads(request.threads)
    timed = " an epoch shuffled | in buckets | time of it |" if request.train else ""
    print(f"| data set | batch | multiple | shuffled, padding | in buckets | steps computed |{timed}")
    print(f"| --- | ---: | ---: | ---: | ---: | ---: |{' ---: |' * timed.count('|')}")
    for name in request.dataset:
        config = replace(preset(name, request.preset), data_root=request.data_root)
        if request.width:
            config = replace(config, model=replace(config.model, width=request.width))
        bundle = load(config)
        dataset = bundle.train
        sides = []
        for bucket in (False, True):
            data = replace(config.data, bucket_by_length=bucket)
            sides.append(padded_and_all(replace(config, data=data), dataset))
        (before, all_before), (after, all_after) = sides
        columns = ""
        if request.train:
            times = epoch_times(config, bundle, request.train)
            columns = f" {times.shuffled:.3g} s | {times.bucketed:.3g} s | {times.ratio:.1%} |"
        print(
            f"| {name} | {config.batch_size} | {config.data.pad_multiple or config.data.max_length} | "
            f"{before / all_before:.1%} | {after / all_after:.1%} | {all_after / all_before:.1%} |{columns}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
