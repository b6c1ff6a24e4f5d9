# SPDX-License-Identifier: Apache-2.0
"""``python -m asl_fast.detect``: find actions in recordings with a trained detector."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
from tqdm import tqdm

from asl_fast.data.dataset import Sample
from asl_fast.evaluation.activitynet_json import write_detections
from asl_fast.files import number, read_json
from asl_fast.models.inference import Detections
from asl_fast.training.distributed import start_processes
from asl_fast.training.inference import prediction_columns
from asl_fast.training.recordings import Recordings, open_recordings
from asl_fast.training.trained import TrainedDetector, load_trained


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; {self.prog} --help lists the options\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m asl_fast.detect", description=__doc__, allow_abbrev=False)
    parser.add_argument("--run", type=Path, required=True, help="run folder of the training, or a checkpoint file")
    parser.add_argument(
        "--features",
        type=Path,
        nargs="+",
        required=True,
        help="feature file (.npy, .npz, .pt, .h5), a folder of them or a packed store; several are extractors "
        "to be put side by side, in training order. For hapt also raw recordings: the zip, a folder or one acc_*.txt",
    )
    parser.add_argument("--output", type=Path, required=True, help="detections as ActivityNet-style JSON, in seconds")
    parser.add_argument("--batch-size", type=int, default=4, help="recordings per batch (default: 4)")
    parser.add_argument("--checkpoint", choices=("last", "best"), default="last", help="default: last")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--fps", type=float, help="frames per second of the recordings (default: as in training)")
    parser.add_argument(
        "--strict", action="store_true", help="stop at a recording that cannot be used instead of leaving it out"
    )
    parser.add_argument("--durations", type=Path, help='JSON {"name": seconds}; default: from the number of features')
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status, 2 for a request that cannot be carried out."""
    options = _parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    try:
        if options.batch_size < 1:
            raise ValueError(f"--batch-size must be at least 1, found {options.batch_size}")
        _check_output(options.output)
        trained = load_trained(
            options.run, checkpoint=options.checkpoint, device=start_processes(options.device).device
        )
        recordings = open_recordings(
            options.features, trained.dataset, fps=options.fps, durations_sec=_durations(options.durations)
        )
        skipped: dict[str, Exception] = {}
        samples = _usable(recordings, skipped, strict=options.strict)
        found = {}
        durations = {}
        bar = tqdm(trained.detect(samples, batch_size=options.batch_size), total=len(recordings), disable=None)
        for sample, detections in bar:
            found[sample.video_id] = detections
            durations[sample.video_id] = sample.duration_sec
        if not found:
            raise next(iter(skipped.values()))
        columns = prediction_columns(found.items())
        columns["labels"] = np.asarray(trained.class_names)[columns["labels"]]
        source = {"checkpoint": str(trained.path), "epoch": trained.epoch, "synthetic": trained.dataset["synthetic"]}
        write_detections(options.output, columns, videos=durations, external_data=source)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; nothing was written", file=sys.stderr)
        return 130
    _report(found, durations, trained, options.output)
    if skipped:
        first = next(iter(skipped.values()))
        count = f"{len(skipped)} of {len(recordings)} recordings are left out"
        print(f"warning: {count}, the first: {first}; --strict stops there", file=sys.stderr)
    return 0


def _usable(recordings: Recordings, skipped: dict[str, Exception], *, strict: bool) -> Iterator[Sample]:
    """Samples of the recordings that can be read; the others are kept in ``skipped`` with the error, by name."""
    for name in recordings.names:
        try:
            yield recordings.load(name)
        except (ValueError, OSError) as error:
            if strict:
                raise
            skipped[name] = error


def _check_output(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(f"--output {path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"--output {path}: folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"--output {path}: folder {path.parent} cannot be written")


def _durations(path: Path | None) -> dict[str, float]:
    if path is None:
        return {}
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f'{path} must be JSON like {{"name": seconds}}, found {content!r:.80}')
    return {name: number(seconds, f"{path}, {name!r}") for name, seconds in content.items()}


def _report(
    found: Mapping[str, Detections], durations: Mapping[str, float], trained: TrainedDetector, output: Path
) -> None:
    count = sum(len(each.scores) for each in found.values())
    print(f"{count} detections in {len(found)} recordings ({sum(durations.values()):.0f} s), written to {output}")
    if trained.dataset["synthetic"]:
        print("the detector was trained on synthetic data: these are no detections of real actions")
    name, detections = next(iter(found.items()))
    print(f"the first in {name}:")
    rows = zip(detections.segments[:5].tolist(), detections.labels.tolist(), detections.scores.tolist(), strict=False)
    for (start, end), label, score in rows:
        print(f"  {start:8.2f} s to {end:8.2f} s  {score:.3f}  {trained.class_names[label]}")


if __name__ == "__main__":
    sys.exit(main())
