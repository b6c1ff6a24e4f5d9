# SPDX-License-Identifier: Apache-2.0
"""What detection in fewer bits costs in mAP and gains in time: ``python -m benchmarks.precision RUN...``.

Every run detects in its own test split in float32, and, where the processor computes in it, in bfloat16 as ``detect
--precision bf16`` does. Times are of the processor, with one thread, both in turn.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from asl_fast.detection.trained import TrainedDetector, load_trained
from asl_fast.evaluation.protocols import evaluate_protocol, run_protocol
from asl_fast.training.distributed import computes_in_bf16, start_processes
from asl_fast.training.run import load as load_data
from asl_fast.training.scoring import Columns, frame_borders, ground_truth_columns, predict, summary


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, whose data are where they were")
    parser.add_argument("--rounds", type=int, default=3, help="how often each detects; the least time counts")
    request = parser.parse_args(words)
    torch.set_num_threads(1)
    print("| data set | numbers | time | of float32 | mAP | loss | strict mAP | loss |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for run in request.runs:
        for line in compare(load_trained(run), request.rounds):
            print(line, flush=True)
    return 0


def compare(trained: TrainedDetector, rounds: int) -> list[str]:
    """Detect in a run's test split in every kind of numbers; return rows of the table."""
    bundle, config = load_data(trained.config), trained.config
    processes = start_processes("cpu")
    kinds = {"float32": False} | ({"bfloat16": True} if computes_in_bf16(processes.device) else {})
    found: dict[str, Columns] = {}
    seconds: dict[str, float] = {}
    for _ in range(rounds):
        for kind, autocast in kinds.items():
            start = time.process_time()
            found[kind] = predict(
                trained.detector,
                bundle.test,
                config.inference,
                batch_size=config.evaluation.batch_size,
                autocast=autocast,
                processes=processes,
            )
            seconds[kind] = min(seconds.get(kind, float("inf")), time.process_time() - start)
    videos = bundle.test.videos
    protocol = run_protocol(config.dataset, vars(config.evaluation))
    truth, names, borders = ground_truth_columns(videos), [video.id for video in videos], frame_borders(videos)
    scores = {
        kind: summary(evaluate_protocol(protocol, truth, each, videos=names, borders_sec=borders))
        for kind, each in found.items()
    }
    rows = []
    for kind, of_kind in scores.items():
        cells = [config.dataset, kind, f"{seconds[kind]:.2f} s", f"{seconds[kind] / seconds['float32']:.2f}"]
        for name in ("average_map", "strict_average_map"):
            if name in of_kind:
                lost = scores["float32"][name] - of_kind[name]
                cells += [f"{100 * of_kind[name]:.2f}", f"{100 * lost:+.2f}"]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


if __name__ == "__main__":
    sys.exit(main())
