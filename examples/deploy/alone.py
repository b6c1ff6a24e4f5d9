# SPDX-License-Identifier: Apache-2.0
"""Run an exported detector on one recording, without asl_fast: a starting point for a program of your own.

usage: python alone.py FOLDER/model.onnx FEATURES.npy [DETECTIONS.json]     needs numpy and onnxruntime
       python alone.py FOLDER/model.pt2 FEATURES.npy [DETECTIONS.json]      needs numpy and torch

config.json, which lies beside the model, says what the features' steps are in seconds. Where what `asl-fast detect`
found in the same recording is given too, the best detection is compared.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

TOLERANCE = 1e-4


def inputs(features: Path, dataset: dict[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """Read a recording as a batch of one."""
    grid, array = dataset["grid"], np.load(features).astype(np.float32)
    fps = (dataset.get("frame_rates") or {}).get(features.stem) or grid["fps"]
    first_frame = grid["window_frame"] / 2 if grid["offset_frame"] is None else grid["offset_frame"]
    return {
        "features": array[None],
        "lengths": np.array([len(array)]),
        "first_sec": np.array([first_frame / fps]),
        "step_sec": np.array([grid["stride_frame"] / fps]),
    }


def run(model: Path, given: dict[str, np.ndarray[Any, Any]]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return segments in seconds (P, 2) and the score of every class (P, C) at every point."""
    if model.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        segments, scores = session.run(["segments_sec", "scores"], given)
        return segments[0], scores[0]
    import torch

    module = torch.export.load(model).module()
    with torch.no_grad():
        segments, scores = module(*(torch.from_numpy(array) for array in given.values()))
    return segments[0].numpy(), scores[0].numpy()


def main(words: list[str]) -> int:
    """Print the best detections; return 1 where the best is another than asl_fast's own."""
    if len(words) not in (2, 3):
        sys.exit(__doc__)
    model, features = Path(words[0]), Path(words[1])
    dataset = json.loads(model.with_name("config.json").read_text())["dataset"]
    segments, scores = run(model, inputs(features, dataset))
    best = np.argsort(-scores, axis=None)[:3]
    print(f"{model.name}: {len(segments):,} points in {features.name}, the best:")
    for point, label in zip(*np.unravel_index(best, scores.shape), strict=True):
        start, end = segments[point]
        print(f"  {scores[point, label]:.4f}  {start:7.2f} to {end:7.2f} s  {dataset['class_names'][label]}")
    if len(words) == 2:
        return 0
    found = json.loads(Path(words[2]).read_text())["results"][features.stem]
    theirs = max(detection["score"] for detection in found)
    difference = abs(theirs - scores.max())
    print(f"  asl-fast detect has {theirs:.4f} for the best; the difference is {difference:.1e}")
    return 0 if difference <= TOLERANCE else 1


if __name__ == "__main__":
    status = main(sys.argv[1:])
    print("  loaded:", ", ".join(name for name in ("numpy", "onnxruntime", "torch", "asl_fast") if name in sys.modules))
    sys.exit(status)
