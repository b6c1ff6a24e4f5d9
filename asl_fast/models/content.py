# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint holds, walked value by value: its digest, and the first number that is none."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def walk(content: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Go through nested dictionaries and lists: every tensor and plain value with its place, such as ``detector.bias``.

    A dictionary or list comes before what it holds, as its kind and length, so that no two contents look alike.
    """
    if isinstance(content, Mapping):
        yield path, f"dict {len(content)}"
        for key, value in content.items():
            # The kind of a key counts: the states of an optimiser are filed under numbers.
            yield path, f"key {key!r}"
            yield from walk(value, f"{path}.{key}" if path else str(key))
    elif isinstance(content, (list, tuple)):
        yield path, f"list {len(content)}"
        for index, value in enumerate(content):
            yield from walk(value, f"{path}[{index}]")
    else:
        yield path, content


def digest(content: Any) -> str:
    """Compute a digest over every tensor (place, dtype, shape, check sum of its bytes) and every plain value.

    It is made to find damage, fast enough to be taken of every checkpoint; it is no signature. The same content gives
    the same digest on every device and after every way of saving it.

    Raises:
        TypeError: Naming the place of a value that is neither a dense tensor nor plain.
    """
    total = hashlib.sha256()
    for path, value in walk(content):
        if isinstance(value, Tensor):
            if value.layout != torch.strided or value.is_quantized:
                raise TypeError(f"{path} is no dense tensor")
            data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
            total.update(f"{path}={value.dtype} {tuple(value.shape)} {zlib.crc32(data.data)}\n".encode())
        elif value is None or isinstance(value, (bool, int, float, str)):
            total.update(f"{path}={type(value).__name__} {value!r}\n".encode("utf-8", "surrogatepass"))
        else:
            raise TypeError(f"{path} is a {type(value).__name__}, not a tensor or a plain value")
    return total.hexdigest()


def first_non_finite(content: Any, path: str = "") -> str | None:
    """Find the first tensor that holds NaN or infinity, as ``detector.bias[3] is nan``; None where all are finite."""
    for place, value in walk(content, path):
        if isinstance(value, Tensor) and value.is_floating_point() and value.numel():
            # The smallest and the largest are NaN if anything is, and they are found without a copy.
            low, high = torch.aminmax(value)
            if not bool(torch.isfinite(low) & torch.isfinite(high)):
                index = torch.nonzero(~torch.isfinite(value))[0].tolist()
                where = f"[{', '.join(map(str, index))}]" if index else ""
                return f"{place}{where} is {float(value[tuple(index)])}"
    return None
