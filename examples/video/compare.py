# SPDX-License-Identifier: Apache-2.0
"""Compare detections with the actions that clips were made of: whether each is found, and how far its ends are off.

    python -m examples.video.compare actions.json detections.json STEP_SEC

Exit status: 0 when nine of ten actions of the test clips are found with both ends within one step.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from asl_fast.files import read_json

_ENOUGH = 0.9


def ends_off(actions: Path, detections: Path) -> np.ndarray:
    """Return for each action of the test clips how far its detection is off, (N, 2) in seconds; infinite without one.

    That is, of those of its class that overlap it, the one with the highest score.
    """
    database, results = read_json(actions)["database"], read_json(detections)["results"]
    rows = []
    for name, found in results.items():
        if database[name]["subset"] != "test":
            continue
        for action in database[name]["annotations"]:
            start, end = action["segment"]
            over = [
                each
                for each in found
                if each["label"] == action["label"] and min(end, each["segment"][1]) > max(start, each["segment"][0])
            ]
            best = max(over, key=lambda each: each["score"], default=None)
            rows.append([np.inf] * 2 if best is None else [best["segment"][0] - start, best["segment"][1] - end])
    return np.array(rows)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    actions, detections, step_sec = sys.argv[1:] if arguments is None else arguments
    off = np.abs(ends_off(Path(actions), Path(detections)))
    within = (off <= float(step_sec)).all(axis=1)
    print(
        f"{within.sum()} of {len(off)} actions in clips that were not trained on are found with both ends within one "
        f"step, {float(step_sec):g} s; the ends are off by {np.median(off):.2f} s in the median"
    )
    return 0 if within.mean() >= _ENOUGH else 1


if __name__ == "__main__":
    sys.exit(main())
