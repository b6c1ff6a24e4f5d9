# SPDX-License-Identifier: Apache-2.0
"""The files that a deployed detector is written as."""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from asl_fast.exporting.deployed import INPUTS, MAX_BATCH, MAX_LENGTH, OUTPUTS, DeployedDetector, example_inputs
from asl_fast.files import atomic_write

Format = Literal["torch-export", "onnx", "safetensors"]
Outputs = tuple[Tensor, Tensor]
Runner = Callable[[tuple[Tensor, ...]], Outputs]

FILES: dict[Format, str] = {
    "torch-export": "model.pt2",
    "onnx": "model.onnx",
    "safetensors": "model.safetensors",
}
# What writes a format, and what runs it when it is checked.
PACKAGES: dict[Format, tuple[str, ...]] = {
    "torch-export": (),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "safetensors": ("safetensors",),
}
_TRACED_LENGTH = 700  # any length that is no special case; the graph holds for all


def require_packages(formats: tuple[Format, ...]) -> None:
    """Check before any work that what writes these formats is installed.

    Raises:
        ImportError: Naming the packages and how to install them, or a PyTorch that is too old.
    """
    missing = [name for format in formats for name in PACKAGES[format] if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"--to {' '.join(formats)} needs {', '.join(missing)}: pip install 'asl-fast[export]'")
    if set(formats) & {"torch-export", "onnx"} and not hasattr(torch.compiler, "is_exporting"):
        raise ImportError(
            f"exporting a graph needs PyTorch 2.7 or newer, found {torch.__version__}; --to safetensors works with it"
        )


def traced(deployed: DeployedDetector) -> torch.export.ExportedProgram:
    """Trace a detector into one graph for all batch sizes and lengths."""
    batch = torch.export.Dim("batch", max=MAX_BATCH)
    length = torch.export.Dim("length", max=MAX_LENGTH)
    shapes: dict[str, Any] = {name: {0: batch} for name in INPUTS}
    shapes["features"] = {0: batch, 1: length}
    examples = example_inputs(deployed, 2, _TRACED_LENGTH)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return torch.export.export(deployed.eval(), examples, dynamic_shapes=shapes, strict=False)


def write_torch_export(program: torch.export.ExportedProgram, path: Path) -> Runner:
    """Write a ``.pt2`` file, which plain PyTorch loads; return what runs it as it was written."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    with atomic_write(path) as file:
        file.write(buffer.getvalue())
    with path.open("rb") as written:
        module = torch.export.load(io.BytesIO(written.read())).module()

    def run(inputs: tuple[Tensor, ...]) -> Outputs:
        with torch.no_grad():
            segments, scores = module(*inputs)
        return segments, scores

    return run


def write_onnx(program: torch.export.ExportedProgram, path: Path) -> Runner:
    """Write an ONNX file, the weights inside; return what runs it, with onnxruntime on the CPU."""
    import onnxruntime

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converted = torch.onnx.export(
            program, dynamo=True, input_names=list(INPUTS), output_names=list(OUTPUTS), verbose=False
        )
    assert converted is not None
    with atomic_write(path) as file:
        file.write(converted.model_proto.SerializeToString())
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(inputs: tuple[Tensor, ...]) -> Outputs:
        given = {name: tensor.numpy() for name, tensor in zip(INPUTS, inputs, strict=True)}
        segments, scores = (torch.from_numpy(array) for array in session.run(list(OUTPUTS), given))
        return segments, scores

    return run
