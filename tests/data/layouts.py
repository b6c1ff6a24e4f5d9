# SPDX-License-Identifier: Apache-2.0
"""Data sets on disk in their real layout: real annotations, made-up features."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.shared import shared_file

DIM = 2048


def thumos_folder(
    root: Path,
    *,
    videos: int = 12,
    steps: Callable[[int, float, float], float] = lambda index, duration, fps: (duration * fps - 16) / 4 + 1,
    prefix: str = "",
) -> Path:
    """Real THUMOS14 annotations of some short videos a split, with one feature file each.

    Args:
        root: Where to write.
        videos: Videos of each split.
        steps: Feature vectors of a video by its index, duration and frame rate; rounded down.
        prefix: Before the id in file names.
    """
    (root / "annotations").mkdir(parents=True)
    (root / "features").mkdir()
    database: dict[str, Any] = json.loads(shared_file("data/annotations/thumos14.json").read_text())["database"]
    kept = {}
    for subset in ("Validation", "Test"):
        keys = [key for key, entry in database.items() if entry["subset"] == subset and entry["duration"] > 30]
        for index, key in enumerate(sorted(keys, key=lambda key: float(database[key]["duration"]))[:videos]):
            kept[key] = database[key]
            length = int(steps(index, database[key]["duration"], database[key]["fps"]))
            values = (np.arange(length * DIM) % 7).reshape(length, DIM).astype(np.float16)
            np.save(root / "features" / f"{prefix}{key}.npy", values)
    (root / "annotations" / "thumos14.json").write_text(json.dumps({"database": kept}))
    return root
