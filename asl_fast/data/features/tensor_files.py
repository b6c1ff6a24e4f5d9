# SPDX-License-Identifier: Apache-2.0
"""Tensors that torch saved, read as arrays; no code that a file may hold is run."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.features.array_entries import Unusable, choose_key
from asl_fast.files import check_unpacked

TENSORS = (".pt", ".pth")


def read_tensor(path: Path, key: str | None) -> NDArray[Any]:
    """Read the tensor in a file, or the one of a dictionary that `choose_key` chooses.

    Raises:
        Unusable: When the file is damaged, holds anything but tensors, or a tensor that is no plain array of float16,
            bfloat16, float32 or float64, or far larger than the file.
    """
    # Imported here because the other formats need no torch.
    import torch

    stored = path.stat().st_size
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            check_unpacked(sum(entry.file_size for entry in archive.infolist()), stored, "its content")
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch reports damage and refused pickles by many types
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise Unusable(
            f"cannot be read as tensors alone ({first}); it is damaged, or holds other objects: "
            "save the feature tensor itself"
        ) from error
    if isinstance(value, dict):
        value = value[choose_key([name for name in value if isinstance(name, str)], key)]
    if not isinstance(value, torch.Tensor):
        raise Unusable(f"holds a {type(value).__name__}, not a tensor")
    if value.layout is not torch.strided or value.is_quantized or value.is_nested or value.device.type != "cpu":
        kind = "quantised" if value.is_quantized else str(value.layout).removeprefix("torch.")
        where = f" on {value.device}" if value.device.type != "cpu" else ""
        raise Unusable(f"holds a {kind} tensor{where}; save a plain one on the CPU")
    if value.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        name = str(value.dtype).removeprefix("torch.")
        raise Unusable(f"features must be floating point of 16, 32 or 64 bits, found {name}")
    # An expanded tensor stores one value for many.
    check_unpacked(value.numel() * 4, stored, f"its tensor of shape {tuple(value.shape)}")
    # NumPy has no bfloat16.
    return np.asarray((value.float() if value.dtype == torch.bfloat16 else value).detach().numpy())
