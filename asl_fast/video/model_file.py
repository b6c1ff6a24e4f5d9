# SPDX-License-Identifier: Apache-2.0
"""Backbones from files: programs that ``torch.export`` saved (``.pt2``) and ONNX models."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asl_fast.data.features.extraction import Extraction
from asl_fast.files import read_json, require_file
from asl_fast.video.network import NetworkBackbone, first_line, vector_per_item
from asl_fast.video.pictures import Pictures, read_pictures

_USUAL_SIZE = 224


def open_model_file(path: Path, device: torch.device, precision: str, window: int) -> NetworkBackbone:
    """Open a network with one input and one output.

    The input is (B, frames, 3, height, width), (B, 3, frames, height, width), or (B, 3, height, width) of single
    frames; sizes that the file leaves open are 224 pixels, and all frames of a window. The output is (B, dim), or
    (B, tokens, dim), which are averaged. Colours are scaled as for ImageNet, unless a JSON file of the same name beside
    it says otherwise, see `read_pictures`.

    Args:
        path: The file.
        device: Where it is computed.
        precision: ``"fp32"`` or ``"bf16"``; a file computes as it was exported, so that it takes the first alone.
        window: Frames in a window.

    Raises:
        FileNotFoundError, ValueError: Naming the file, when it is not there, damaged, or not of such a shape.
        ImportError: Without onnxruntime, for an ONNX file.
    """
    require_file(path)
    if precision != "fp32":
        raise ValueError(
            f"--backbone-precision {precision}: {path} computes as it was exported; export it in that precision"
        )
    load = _load_exported if path.suffix.lower() == ".pt2" else _load_onnx
    run, shape = load(path, device)
    arrange, num_frames, size = _arrangement(shape, path, window)
    beside = path.with_suffix(".json")
    pictures = Pictures(max(size), size)
    if beside.is_file():
        pictures = read_pictures(read_json(beside), str(beside), pictures)
        if pictures.crop != size and all(isinstance(side, int) for side in shape[-2:]):
            raise ValueError(f"{beside}: frames of {pictures.crop[0]} x {pictures.crop[1]}, but {path} takes {size}")
    # A file may leave the number of windows open; one at a time fits every file.
    return NetworkBackbone(
        lambda frames: vector_per_item(arrange(frames, run)),
        pictures,
        num_frames,
        window,
        Extraction(path.suffix.lower().lstrip("."), _digest(path), pictures.words, precision, str(path)),
        device,
        group=1,
    )


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        FileNotFoundError, ValueError: When it is not there, or no regular file.
    """
    require_file(path)
    total = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**22):
            total.update(part)
    return total.hexdigest()


def _digest(path: Path) -> str:
    """Digest a file, with the one beside it that ONNX exporters put large weights into."""
    data = path.with_name(f"{path.name}.data")
    if not data.is_file():
        return file_digest(path)
    return hashlib.sha256((file_digest(path) + file_digest(data)).encode()).hexdigest()


def _arrangement(
    shape: Sequence[int | None], path: Path, window: int
) -> tuple[Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor], int, tuple[int, int]]:
    """Return what feeds (B, frames, 3, height, width) to a network, the frames that it takes, and their size."""
    height, width = (side or _USUAL_SIZE for side in shape[-2:])
    if len(shape) == 4 and shape[1] == 3:

        def frame_by_frame(frames: Tensor, run: Callable[[Tensor], Tensor]) -> Tensor:
            each = [vector_per_item(run(frames[:, k])) for k in range(frames.shape[1])]
            return torch.stack(each).mean(dim=0)

        return frame_by_frame, window, (height, width)
    if len(shape) == 5 and shape[2] == 3:
        return lambda frames, run: run(frames), shape[1] or window, (height, width)
    if len(shape) == 5 and shape[1] == 3:
        return lambda frames, run: run(frames.transpose(1, 2).contiguous()), shape[2] or window, (height, width)
    shown = ", ".join("?" if side is None else str(side) for side in shape)
    raise ValueError(
        f"{path} takes ({shown}); expected (windows, frames, 3, height, width), (windows, 3, frames, height, width) or "
        "(frames, 3, height, width)"
    )


def _load_exported(path: Path, device: torch.device) -> tuple[Callable[[Tensor], Tensor], list[int | None]]:
    try:
        program = torch.export.load(path)
    except Exception as error:  # damage comes as errors of many types
        raise ValueError(f"{path} cannot be read as a program of torch.export ({first_line(error)})") from None
    names = set(program.graph_signature.user_inputs)
    inputs = [node.meta["val"].shape for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    if len(inputs) != 1:
        raise ValueError(f"{path} takes {len(inputs)} inputs; expected one, of frames")
    module: Any = program.module().to(device)

    def run(frames: Tensor) -> Tensor:
        output = module(frames)
        return _only(output, path)

    return run, [side if isinstance(side, int) else None for side in inputs[0]]


def _load_onnx(path: Path, device: torch.device) -> tuple[Callable[[Tensor], Tensor], list[int | None]]:
    try:
        import onnxruntime
    except ImportError:
        raise ImportError(f"{path} needs onnxruntime: pip install onnxruntime") from None
    wanted = ["CUDAExecutionProvider"] if device.type == "cuda" else []
    if wanted and wanted[0] not in onnxruntime.get_available_providers():
        raise ImportError(f"{path} on {device} needs onnxruntime-gpu; --device cpu computes it on the processor")
    try:
        session = onnxruntime.InferenceSession(path, providers=[*wanted, "CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has types of its own
        raise ValueError(f"{path} cannot be read as an ONNX model ({first_line(error)})") from None
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)":
        raise ValueError(f"{path} takes {[each.type for each in inputs]}; expected one float32 input, of frames")
    name = inputs[0].name

    def run(frames: Tensor) -> Tensor:
        output = session.run(None, {name: frames.cpu().numpy()})
        return torch.from_numpy(output[0])

    return run, [side if isinstance(side, int) else None for side in inputs[0].shape]


def _only(output: Any, path: Path) -> Tensor:
    while isinstance(output, (tuple, list)) and output:
        output = output[0]
    if not isinstance(output, Tensor):
        raise ValueError(f"{path} gives a {type(output).__name__}; expected a tensor of features first")
    return output
