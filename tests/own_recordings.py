# SPDX-License-Identifier: Apache-2.0
"""A small data set as somebody might have: one annotation file and a folder of features."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = ("jump", "run", "throw")
STRIDE, WINDOW, FPS = 8, 16, 25.0


def write_recordings(root: Path, *, number: int = 12, prefix: str = "v_", dim: int = 8) -> tuple[Path, Path]:
    """``mine.json`` without subsets and label ids, and ``features`` whose first channels say what is going on."""
    rng = np.random.default_rng(1)
    folder = root / "features"
    folder.mkdir(parents=True)
    database: dict[str, Any] = {}
    for index in range(number):
        duration = float(rng.uniform(30, 60))
        steps = int((duration * FPS - WINDOW) / STRIDE) + 1
        features = 0.3 * rng.standard_normal((steps, dim)).astype(np.float32)
        found, start = [], 2.0
        while (end := start + float(rng.uniform(2, 10))) < duration - 1:
            label = int(rng.integers(len(CLASSES)))
            first, last = (int((time * FPS - WINDOW / 2) / STRIDE) for time in (start, end))
            features[first : last + 1, label] += 2
            found.append({"segment": [start, end], "label": CLASSES[label]})
            start = end + float(rng.uniform(1, 5))
        database[f"clip{index:02d}"] = {"duration": duration, "fps": FPS, "annotations": found}
        np.save(folder / f"{prefix}clip{index:02d}.npy", features)
    (root / "mine.json").write_text(json.dumps({"database": database}))
    return root / "mine.json", folder
