# SPDX-License-Identifier: Apache-2.0
"""The page that stands beside exported files: what the model is, what goes in and what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asl_fast.exporting.formats import FILES, Format
from asl_fast.wording import printable

_TORCH = """\
```python
import torch

model = torch.export.load("model.pt2").module()
segments_sec, scores = model(features, lengths, first_sec, step_sec)
```
"""
_ONNX = """\
```python
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
inputs = {"features": features, "lengths": lengths, "first_sec": first_sec, "step_sec": step_sec}
segments_sec, scores = session.run(["segments_sec", "scores"], inputs)
```
"""
_SAFETENSORS = """\
```python
from asl_fast.models.detector import ActionDetector

detector = ActionDetector.from_pretrained("FOLDER_OR_HUB_ID")  # model.safetensors and config.json
```

`python -m asl_fast.detect --run FOLDER --features features/ --output detections.json` runs it on recordings.
"""
_USES: dict[Format, tuple[str, str]] = {
    "torch-export": ("With PyTorch alone", _TORCH),
    "onnx": ("With onnxruntime", _ONNX),
    "safetensors": ("With asl_fast", _SAFETENSORS),
}
_SUPPRESSION = """\
What comes out is every point's segment and its score for every class. Overlapping ones of one action are suppressed by

```python
import torch
from asl_fast import soft_nms

top = scores[0].flatten().topk(min(2000, scores[0].numel()))  # of the first recording
point, label = top.indices // scores.shape[-1], top.indices % scores.shape[-1]
kept = soft_nms(segments_sec[0][point].float(), top.values, label, sigma={sigma}, max_segments={kept})
```
"""


def model_card(
    config: Mapping[str, Any], dataset: Mapping[str, Any], formats: Sequence[Format], results: Mapping[str, Any] | None
) -> str:
    """Write the page, in Markdown with the front matter that model hubs read.

    Args:
        config: The training configuration, as JSON values.
        dataset: What the checkpoint says of its data set.
        formats: Which files lie beside it.
        results: Scores of the run, as ``evaluation.json`` has them; None where there are none.
    """
    model, inference = config["model"], config["inference"]
    grid, transform = dataset["grid"], dataset["transform"]
    what = "raw samples" if transform is not None else "features"
    width = model["feature_dim"] if transform is None else len(transform["mean"])
    origin = grid["window_frame"] / 2 if grid["offset_frame"] is None else grid["offset_frame"]
    lines = [
        "---",
        "library_name: asl_fast",
        "tags: [temporal-action-localization, action-detection]",
        "---",
        "",
        f"# Action detector, trained on {_escaped(dataset['name'])}",
        "",
        f"ActionFormer's architecture, {model['width']} channels, {model['num_levels']} levels, trained with Action "
        f"Sensitivity Learning for {config['epochs'] + config['warmup_epochs']} epochs by asl_fast.",
    ]
    if dataset["synthetic"]:
        lines += ["", "**It was trained on synthetic recordings and detects no real actions.**"]
    lines += ["", *_scores(results), "## What goes in", ""]
    lines += [
        "| input | shape | type | what it is |",
        "|---|---|---|---|",
        f"| `features` | (B, T, {width}) | float32 | {what}; rows beyond a recording's length may hold anything |",
        "| `lengths` | (B,) | int64 | rows of each recording |",
        "| `first_sec` | (B,) | float64 | time of the first grid step |",
        "| `step_sec` | (B,) | float64 | time between two grid steps |",
        "",
        f"In training a grid step was {grid['stride_frame']:g} frames, the first at frame {origin:g}: "
        f"`step_sec = {grid['stride_frame']:g} / fps`, `first_sec = {origin:g} / fps`"
        f"{_rates(dataset, grid)}. B and T are free.",
        "",
        "## What comes out",
        "",
        "| output | shape | type | what it is |",
        "|---|---|---|---|",
        "| `segments_sec` | (B, P, 2) | float64 | start and end from each point, not clipped to the recording |",
        f"| `scores` | (B, P, {model['num_classes']}) | float32 | of each class, 0 beyond the recording |",
        "",
        _SUPPRESSION.format(sigma=inference["nms_sigma"], kept=inference["max_segments"]),
    ]
    for format in formats:
        title, text = _USES[format]
        lines += [f"## {title}: `{FILES[format]}`", "", text]
    lines += ["## Classes", ""]
    lines += [f"{label}. {_escaped(name)}" for label, name in enumerate(dataset["class_names"])]
    return "\n".join(lines) + "\n"


def _rates(dataset: Mapping[str, Any], grid: Mapping[str, Any]) -> str:
    """Say how many frames a second recordings had in training."""
    rates = sorted(set((dataset.get("frame_rates") or {}).values())) or [grid["fps"]]
    return f", with {rates[0]:g} frames a second" + (f" to {rates[-1]:g}" if len(rates) > 1 else "")


def _scores(results: Mapping[str, Any] | None) -> list[str]:
    """Give the run's own scores, where there are any."""
    average = None if results is None else results.get("average_map")
    if not isinstance(average, float):
        return []
    return [f"Average mAP on its test split: {100 * average:.2f} %.", ""]


def _escaped(name: str) -> str:
    """Show a name as it is, whatever Markdown, or the terminal that prints the page, would make of it."""
    plain = printable(" ".join(name.split()))
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>()#+-.!|" else char for char in plain)
