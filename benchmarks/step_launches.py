# SPDX-License-Identifier: Apache-2.0
"""``python benchmarks/step_launches.py``: launches of one training step, and what would keep it out of a CUDA graph.

It needs no GPU: the step runs on fake CUDA tensors, every branch as on a real one. The numbers are predicted from
PyTorch's sources (benchmarks/fake_cuda/launching.py); libraries may add launches of their own.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # started as a file: the checkout, not its folder benchmarks, holds the modules
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import fake_cuda

REPLAYED = {"graph": 1, "copies of the batch": 5, "copy of the losses": 1}
"""What starts when a recorded step is replayed (asl_fast/training/graph.py)."""


def main(arguments: Sequence[str]) -> int:
    """Trace, print and write; return the exit status: 1 where a step cannot be captured, 2 where none was traced."""
    parser = argparse.ArgumentParser(prog="benchmarks/step_launches.py", description=__doc__)
    parser.add_argument("--shape", nargs="+", default=["multithumos"], help="benchmarks whose full size is traced")
    parser.add_argument("--variant", default=None, help="of the loss, as python -m asl_fast.train has it")
    parser.add_argument("--precision", default="bf16", choices=("bf16", "fp32"), help="of the detector")
    parser.add_argument("--stages", action="store_true", help="every operator, by stage")
    parser.add_argument("--json", type=Path, default=None, help="also write the counts here")
    request = parser.parse_args(arguments)
    try:
        fake_cuda.load()
        from benchmarks.shapes import shape

        shapes = [shape(name, request.variant) for name in request.shape]
    except (fake_cuda.Unavailable, KeyError) as error:
        print(f"benchmarks/step_launches.py: {error}", file=sys.stderr)
        return 2
    from benchmarks.fake_cuda.tracing import trace_step

    records: dict[str, Any] = {}
    for each in shapes:
        trace = trace_step(
            each.config,
            each.batch,
            each.config.data.max_length,
            each.batch * each.instances,
            autocast=request.precision == "bf16",
        )
        counts = trace.by_category()
        name = f"{each.name}, {request.variant or 'preset'}, {request.precision}"
        records[name] = {
            "eager": dict(counts),
            "replayed": REPLAYED,
            "obstacles": trace.obstacles,
            "least_sec": trace.least_sec,
        }
        print(f"{name}: {each.batch} x {each.config.data.max_length} x {each.config.model.feature_dim}, predicted")
        for category, count in counts.most_common():
            print(f"  {count:6d}  {category}")
        print(f"  {sum(counts.values()):6d}  in all, operator by operator")
        print(f"  {sum(REPLAYED.values()):6d}  replayed: {', '.join(f'{n} {what}' for what, n in REPLAYED.items())}")
        print(f"  {1e3 * trace.least_sec:6.2f}  ms at least on an H100, by the bytes and products of every operator")
        for obstacle in trace.obstacles:
            print(f"  cannot be captured: {obstacle}")
        if request.stages:
            for (stage, category, operator), count in sorted(trace.launches.items()):
                print(f"    {stage:10s} {count:5d}  {operator} ({category})")
    if request.json is not None:
        request.json.write_text(json.dumps(records, indent=2) + "\n")
    return int(any(record["obstacles"] for record in records.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
