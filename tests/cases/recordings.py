# SPDX-License-Identifier: Apache-2.0
"""A data set of one's own for the cases, with what is odd about it in a few words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.cases.feature_files import write_features

DIM = 16


def write(root: Path, recipe: str) -> list[str]:
    """Write annotations and ``f/`` by a recipe such as ``n=60 sec=3-12 fps=30 stride=4 window=16 duration=frames``.

    ``fps=25,50`` gives videos these rates in turn; ``duration`` and ``segment`` may be seconds, frames, steps or ms,
    and ``first=1`` counts the last three from 1; ``segment=length`` is the start and the length; ``labels=Run,run`` are
    the two classes, and ``odd=Run`` is what the first video calls its first. ``fixed=100`` resizes every video to as
    many vectors, ``transposed=1`` stores them as (D, T); ``nofps=1`` leaves the frame rates out of the file,
    ``noduration=1`` the durations, which then are in ``durations.csv``. ``table=clip,from,to,class`` writes ``a.csv``
    with these columns, ``a.tsv`` where they are joined by ``/``, instead of ``a.json``. How features are written says
    `write_features`.

    Returns:
        The command's words that name the data.
    """
    asked = {"n": "20", "sec": "20-60", "fps": "25", "stride": "8", "window": "8", "duration": "s", "segment": "s"}
    asked |= dict(word.split("=") for word in recipe.split())
    random = np.random.default_rng(int(asked.get("seed", "5")))
    shortest, longest = map(float, asked["sec"].split("-"))
    rates = [float(rate) for rate in asked["fps"].split(",")]
    stride, window = int(asked["stride"]), int(asked["window"])
    labels = asked.get("labels", "run,jump").split(",")
    database: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    lengths = {}
    for index in range(int(asked["n"])):
        fps = rates[index % len(rates)]
        frames = int(random.integers(round(shortest * fps), round(longest * fps)))
        seconds = frames / fps
        steps = int(asked.get("fixed", (frames - window) // stride + 1))
        array = random.normal(0, 1, (steps, DIM)).astype(np.float32)
        arrays[f"v{index:02d}"] = array.T if "transposed" in asked else array
        share = np.sort(random.uniform(0.02, 0.98, 4)).reshape(2, 2)
        unit: Mapping[str, float] = {"s": 1.0, "length": 1.0, "frames": fps, "ms": 1000.0, "steps": steps / seconds}
        segments = share * seconds * unit[asked["segment"]]
        if asked["segment"] == "length":
            segments[:, 1] -= segments[:, 0]
        elif asked["segment"] != "s":
            segments = np.round(segments)
            # Some action lasts to the very end, and some begins with the video.
            segments[1, 1] = segments[1, 1] if index % 3 else int(seconds * unit[asked["segment"]])
            segments[0, 0] = segments[0, 0] if index % 4 else int(asked.get("first", "0"))
        lengths[f"v{index:02d}"] = round(seconds * unit[asked["duration"]], 3)
        database[f"v{index:02d}"] = {
            "subset": "training" if index % 4 else "validation",
            **({} if "noduration" in asked else {"duration": lengths[f"v{index:02d}"]}),
            **({} if "nofps" in asked else {"fps": fps}),
            "annotations": [
                {"segment": s, "label": asked["odd"] if "odd" in asked and not index and not i else labels[i]}
                for i, s in enumerate(segments.round(3).tolist())
            ],
        }
    subsets = {video: entry["subset"] for video, entry in database.items()}
    features = str(write_features(root / "f", arrays, asked, subsets))
    (root / "durations.csv").write_text("\n".join(["video,seconds", *(f"{k},{v}" for k, v in lengths.items())]))
    if "table" in asked:
        return ["--annotations", str(_table(root, database, asked["table"])), "--features", features]
    (root / "a.json").write_text(json.dumps({"database": database}))
    return ["--annotations", str(root / "a.json"), "--features", features]


def _table(root: Path, database: Mapping[str, Any], header: str) -> Path:
    """Columns of video, start, end and label, in this order; then, as far as they are named, duration, fps, subset."""
    separator = "\t" if "/" in header else ","
    names = header.replace("/", ",").split(",")
    lines = [separator.join(names)]
    for video, entry in database.items():
        more = [entry.get("duration", ""), entry.get("fps", ""), entry["subset"]]
        for each in entry["annotations"]:
            values = [video, *each["segment"], each["label"], *more][: len(names)]
            lines.append(separator.join(map(str, values)))
    path = root / ("a.tsv" if separator == "\t" else "a.csv")
    path.write_text("\n".join(lines))
    return path
