# SPDX-License-Identifier: Apache-2.0
"""Traces a step of every configuration of test_graph.py on fake CUDA tensors; prints one JSON line of what was found.

In a process of its own: the stand-in for CUDA has to be loaded before torch.
"""

from __future__ import annotations

import json

from benchmarks import fake_cuda


def main() -> None:
    """Trace and print."""
    fake_cuda.load()
    from benchmarks.fake_cuda.tracing import trace_step
    from tests.training.test_graph import CONFIGS

    found = {}
    for name, config in CONFIGS.items():
        for autocast in (False, True):
            trace = trace_step(config, 2, 32, 5, autocast=autocast)
            found[f"{name}, {'bf16' if autocast else 'fp32'}"] = {
                "obstacles": trace.obstacles,
                "launches": dict(trace.by_category()),
                "stages": sorted({stage for stage, _, _ in trace.launches}),
            }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
