# SPDX-License-Identifier: Apache-2.0
"""A model as a folder: its weights in ``model.safetensors``, what it is in ``config.json``; or the same on a hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from asl_fast.files import read_json, require_file
from asl_fast.models.content import digest

WEIGHTS, CONFIG = "model.safetensors", "config.json"
_DIGEST = "asl_fast.digest"


def find_pretrained(source: str | Path) -> tuple[Path, Path]:
    """Find the two files of a model.

    Args:
        source: A folder, or the id of a model on the Hugging Face hub, "owner/name", which is downloaded once.

    Returns:
        The paths of the configuration and of the weights.

    Raises:
        FileNotFoundError: For a folder without them, or what is neither a folder nor an id.
        ImportError: For an id, without the package that downloads.
        OSError: When the hub has no such model or cannot be reached.
    """
    folder = Path(source)
    if folder.is_dir():
        for name in (CONFIG, WEIGHTS):
            if not (folder / name).is_file():
                raise FileNotFoundError(f"{folder} has no {name}; write it with python -m asl_fast.export")
        return folder / CONFIG, folder / WEIGHTS
    if str(source).count("/") != 1 or str(source).startswith((".", "/", "~")):
        raise FileNotFoundError(f"{source} is neither a folder nor the id of a model on a hub, owner/name")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise ImportError(
            f"{source} is no folder; to download it as the id of a model: pip install huggingface_hub"
        ) from None
    try:
        config, weights = (Path(hf_hub_download(str(source), name)) for name in (CONFIG, WEIGHTS))
    except Exception as error:  # what a download can raise has no end
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise OSError(f"{source} is no folder, and cannot be had from the hub: {reason[0]}") from None
    return config, weights


def read_pretrained_config(path: Path) -> dict[str, Any]:
    """Read ``config.json``.

    Raises:
        ValueError: Naming the file and the key that is missing.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("config"), dict) or "model" not in content["config"]:
        raise ValueError(f"{path} lacks 'config.model'; it is written by python -m asl_fast.export")
    return content


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file onto the CPU, which cannot run code, and check that it is whole.

    Its tensors must have the digest that `weights_as_bytes` wrote with them; files of others may have none.

    Raises:
        ImportError: Without the safetensors package.
        ValueError: Naming the file, when it is damaged.
    """
    try:
        from safetensors import SafetensorError, safe_open
        from safetensors.torch import load_file
    except ImportError:
        raise ImportError(f"{path} needs the safetensors package: pip install 'asl-fast[export]'") from None
    require_file(path)
    try:
        weights: dict[str, Tensor] = load_file(path)
        with safe_open(path, framework="pt") as file:
            written = (file.metadata() or {}).get(_DIGEST)
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or not a safetensors file: {error}") from None
    if written is not None and _digest(weights) != written:
        raise ValueError(f"{path} is damaged: its weights have another digest than what was written; export it again")
    return weights


def weights_as_bytes(weights: Mapping[str, Tensor]) -> bytes:
    """Make the content of a safetensors file, with a digest over every tensor."""
    from safetensors.torch import save

    plain = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    return save(plain, metadata={"format": "pt", _DIGEST: _digest(plain)})


def _digest(weights: Mapping[str, Tensor]) -> str:
    # The file has an order of its own.
    return digest(dict(sorted(weights.items())))


def check_fit(weights: dict[str, Tensor], expected: dict[str, Tensor], path: Path) -> None:
    """Check that weights are those that a configuration asks for, and numbers.

    Raises:
        ValueError: Naming the file and the first tensor that is missing, unexpected, of another shape or not finite.
    """
    for name in expected:
        if name not in weights:
            raise ValueError(f"{path} lacks {name!r}, which config.json asks for")
    for name, value in weights.items():
        if name not in expected:
            raise ValueError(f"{path} holds {name!r}, which config.json does not know")
        if value.shape != expected[name].shape:
            there, wanted = tuple(value.shape), tuple(expected[name].shape)
            raise ValueError(f"{path}: {name!r} has shape {there}, config.json asks for {wanted}")
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f"{path}: {name!r} holds NaN or infinity")
