# SPDX-License-Identifier: Apache-2.0
"""A data set of one's own for the cases, with what is odd about it in a few words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

DIM = 16


def write(root: Path, recipe: str) -> list[str]:
    """Write ``a.json`` and ``f/`` by a recipe such as ``n=60 sec=3-12 fps=30 stride=4 window=16 duration=frames``.

    ``fps=25,50`` gives videos these rates in turn; ``duration`` and ``segment`` may be seconds, frames or ms;
    ``fixed=100`` resizes every video to as many vectors, ``transposed=1`` stores them as (D, T); ``nofps=1`` leaves the
    frame rates out of the file.

    Returns:
        The command's words that name the data.
    """
    asked = {"n": "20", "sec": "20-60", "fps": "25", "stride": "8", "window": "8", "duration": "s", "segment": "s"}
    asked |= dict(word.split("=") for word in recipe.split())
    random = np.random.default_rng(int(asked.get("seed", "5")))
    folder = root / "f"
    folder.mkdir()
    shortest, longest = map(float, asked["sec"].split("-"))
    rates = [float(rate) for rate in asked["fps"].split(",")]
    stride, window = int(asked["stride"]), int(asked["window"])
    database: dict[str, Any] = {}
    for index in range(int(asked["n"])):
        fps = rates[index % len(rates)]
        frames = int(random.integers(round(shortest * fps), round(longest * fps)))
        seconds = frames / fps
        steps = int(asked.get("fixed", (frames - window) // stride + 1))
        array = random.normal(0, 1, (steps, DIM)).astype(np.float32)
        np.save(folder / f"v{index:02d}.npy", array.T if "transposed" in asked else array)
        share = np.sort(random.uniform(0.02, 0.98, 4)).reshape(2, 2)
        unit: Mapping[str, float] = {"s": 1.0, "frames": fps, "ms": 1000.0}
        segments = (share * seconds * unit[asked["segment"]]).round(3).tolist()
        database[f"v{index:02d}"] = {
            "subset": "training" if index % 4 else "validation",
            "duration": round(seconds * unit[asked["duration"]], 3),
            **({} if "nofps" in asked else {"fps": fps}),
            "annotations": [{"segment": s, "label": ("run", "jump")[i]} for i, s in enumerate(segments)],
        }
    (root / "a.json").write_text(json.dumps({"database": database}))
    return ["--annotations", str(root / "a.json"), "--features", str(folder)]
