# SPDX-License-Identifier: Apache-2.0
"""``python benchmarks/padding.py``: the share of padding in the training batches of every benchmark, by its lengths.

Nothing is trained and no feature is read: the lengths are those of the benchmark's synthetic twin at full size, which
has the real ones' distribution, or with ``--data-root`` those of the real data.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

if __package__ in (None, ""):  # started as a file: the checkout, not its folder benchmarks, holds the modules
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from asl_fast.data.collate import padded_length
from asl_fast.data.dataset import DetectionDataset
from asl_fast.training.config import TrainConfig
from asl_fast.training.data import load
from asl_fast.training.loader import TrainLoader
from asl_fast.training.presets import preset
from benchmarks.shapes import NAMES

EPOCHS = 3


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
    request = parser.parse_args(arguments)
    print("| data set | batch | multiple | shuffled, padding | in buckets | steps computed |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in request.dataset:
        config = replace(preset(name, request.preset), data_root=request.data_root)
        dataset = load(config).train
        sides = []
        for bucket in (False, True):
            data = replace(config.data, bucket_by_length=bucket)
            sides.append(padded_and_all(replace(config, data=data), dataset))
        (before, all_before), (after, all_after) = sides
        print(
            f"| {name} | {config.batch_size} | {config.data.pad_multiple or config.data.max_length} | "
            f"{before / all_before:.1%} | {after / all_after:.1%} | {all_after / all_before:.1%} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
