# SPDX-License-Identifier: Apache-2.0
"""What a run is, in words: pairs of a name and a value."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import PurePath
from typing import Any

from asl_fast.evaluation.protocols import PROTOCOLS
from asl_fast.reporting.run_record import RunRecord
from asl_fast.wording import count


def short_names(records: Sequence[RunRecord]) -> list[str]:
    """Return the last part of each folder, and as many more as tell the runs apart."""
    paths = [record.folder.path.resolve().parts for record in records]
    for length in range(1, max(map(len, paths)) + 1):
        names = ["/".join(parts[-length:]) for parts in paths]
        if len(set(names)) == len(set(paths)):
            return names
    return [str(record.folder.path) for record in records]


def data_name(record: RunRecord) -> str:
    """Name the data of a run: a known data set, or one's own by the last parts of its file."""
    own = record.config.get("annotations")
    if own and record.config["dataset"] not in PROTOCOLS:
        return "/".join(PurePath(str(own)).parts[-2:])
    return str(record.dataset.get("name") or record.config["dataset"])


def facts(record: RunRecord) -> list[tuple[str, str]]:
    """Say what a run was trained on, how, and with what."""
    return [(label, value) for label, value in _facts(record) if value]


def _facts(record: RunRecord) -> Iterator[tuple[str, str]]:
    config, dataset, environment = record.config, record.dataset, record.environment
    yield "Data", str(dataset.get("description") or config["dataset"])
    if "train_videos" in dataset and "test_videos" in dataset:
        yield "Videos", f"{dataset['train_videos']} to train on, {dataset['test_videos']} to test on"
    if classes := dataset.get("class_names", ()):
        yield "Classes", str(len(classes))
    yield "Loss", loss_in_words(config["loss"])
    model = _part(config, "model")
    if "width" in model and isinstance(model.get("num_levels"), int):
        size = record.summary.get("parameters")
        weights = f", {size:,} weights" if isinstance(size, int) else ""
        yield "Detector", f"width {model['width']}, {count(model['num_levels'], 'level')}{weights}"
    rate, batch = _part(config, "optimizer").get("lr"), config.get("batch_size")
    if isinstance(rate, int | float):
        yield "Optimiser", f"learning rate {rate:g}, batches of {batch}, {count(record.total_epochs, 'epoch')}"
    yield "Seed", str(config.get("seed", ""))
    if device := environment.get("device"):
        threads = environment.get("threads")
        yield "Computed on", f"{device}, {count(threads, 'thread')}" if isinstance(threads, int) else str(device)
    versions = [f"asl_fast {environment['asl_fast']}"] if "asl_fast" in environment else []
    versions += [f"torch {found}"] if (found := _part(environment, "versions").get("torch")) else []
    versions += [f"revision {str(found)[:12]}"] if (found := environment.get("git")) else []
    yield "Versions", ", ".join(versions)
    words = environment.get("command")
    yield "Command", shlex.join(map(str, islice(words, 200))) if isinstance(words, list) else ""
    yield "Folder", str(record.folder.path)


def loss_in_words(loss: Mapping[str, Any]) -> str:
    """Say which parts of the method a loss has."""
    levels = [name for name in ("class", "instance") if loss.get(f"{name}_level")]
    parts = [f"action sensitivity by {' and '.join(levels)}"] if levels else []
    parts += ["contrastive"] if loss.get("contrastive") else []
    parts += ["constant weights"] if loss.get("constant_weights") else []
    return " and ".join(parts) if parts else "plain: focal and DIoU, every moment weighs the same"


def _part(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = values.get(name)
    return found if isinstance(found, Mapping) else {}
