# SPDX-License-Identifier: Apache-2.0
"""Backbones of the transformers package, from a folder with configuration and weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from asl_fast.data.features.extraction import Extraction
from asl_fast.files import read_json
from asl_fast.video.model_file import file_digest
from asl_fast.video.network import NetworkBackbone
from asl_fast.video.pictures import IMAGENET_MEAN, IMAGENET_SD, Pictures, read_pictures

_CLIP_FRAMES = 4
_BICUBIC = 3


class _Kind(NamedTuple):
    """How a model is used: its class, the field of its configuration with the frames, and what its vector is."""

    model: str
    frames: str | None
    vector: Callable[[Any, Tensor], Tensor]


def _mean_token(model: Any, frames: Tensor) -> Tensor:
    tokens: Tensor = model(pixel_values=frames).last_hidden_state
    return tokens.mean(dim=1)


def _first_token(model: Any, frames: Tensor) -> Tensor:
    tokens: Tensor = model(pixel_values=frames).last_hidden_state
    return tokens[:, 0]


def _encoder_mean(model: Any, frames: Tensor) -> Tensor:
    tokens: Tensor = model(pixel_values_videos=frames, skip_predictor=True).last_hidden_state
    return tokens.mean(dim=1)


def _mean_frame(model: Any, frames: Tensor) -> Tensor:
    vectors: Tensor = model(pixel_values=frames.flatten(0, 1)).image_embeds
    return vectors.reshape(*frames.shape[:2], -1).mean(dim=1)


KINDS = {
    "videomae": _Kind("VideoMAEModel", "num_frames", _mean_token),
    "timesformer": _Kind("TimesformerModel", "num_frames", _first_token),
    "vjepa2": _Kind("VJEPA2Model", "frames_per_clip", _encoder_mean),
    "clip": _Kind("CLIPVisionModelWithProjection", None, _mean_frame),
}
"""Backbones by name, which is also the ``model_type`` of their configurations: VideoMAE (mean over its tokens),
TimeSformer (its class token), V-JEPA 2 (mean over the tokens of its encoder), CLIP (mean over 4 frames' embeddings)."""


def open_transformers(name: str, folder: Path, device: torch.device, precision: str) -> NetworkBackbone:
    """Open a model that ``save_pretrained`` wrote; nothing is downloaded, and no code in the folder is run.

    Args:
        name: One of ``KINDS``.
        folder: ``config.json`` and ``*.safetensors``, and ``preprocessor_config.json`` unless frames are scaled as for
            ImageNet.
        device: Where it is computed.
        precision: ``"fp32"``, or ``"bf16"`` for matrix products in bfloat16.

    Raises:
        FileNotFoundError, ValueError: Naming the folder, for weights that are not there or of another kind.
        ImportError: Without transformers.
    """
    config = folder / "config.json"
    if not config.is_file():
        raise FileNotFoundError(f"--weights {folder}: no config.json there; name the folder of a {name} model")
    content = read_json(config)
    found = content.get("model_type") if isinstance(content, dict) else None
    if found not in (name, f"{name}_vision_model"):
        raise ValueError(f"{config} is of a {found!r} model, not of {name!r}")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise FileNotFoundError(
            f"{folder} holds no .safetensors file; pickles of weights can run any code and are not read: save them by "
            "save_pretrained(..., safe_serialization=True)"
        )
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            f"--backbone {name} needs transformers ({error}): pip install 'asl-fast[transformers]'"
        ) from None
    kind = KINDS[name]
    words: Any = transformers.logging
    words.set_verbosity_error()
    words.disable_progress_bar()
    model_class: Any = getattr(transformers, kind.model)
    try:
        model = model_class.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=torch.float32)
    except Exception as error:  # of many types
        raise ValueError(f"{folder} cannot be loaded as {name} ({str(error).strip()[:200]})") from None
    model = model.to(device).eval()
    size = getattr(model.config, "image_size", getattr(model.config, "crop_size", 224))
    pictures = _pictures(folder, int(size[0] if isinstance(size, (list, tuple)) else size))
    digest = hashlib.sha256("".join(file_digest(path) for path in (config, *weights)).encode()).hexdigest()
    return NetworkBackbone(
        lambda frames: kind.vector(model, frames),
        pictures,
        _CLIP_FRAMES if kind.frames is None else int(getattr(model.config, kind.frames)),
        Extraction(name, digest, pictures.words, precision, str(folder)),
        device,
    )


def _pictures(folder: Path, size: int) -> Pictures:
    default = Pictures(size, (size, size), IMAGENET_MEAN, IMAGENET_SD)
    for file in ("preprocessor_config.json", "video_preprocessor_config.json"):
        path = folder / file
        if path.is_file():
            content = read_json(path)
            values = {"size": _side(content.get("size"), size), "crop": size, "mode": "bilinear"}
            if content.get("resample") == _BICUBIC:
                values["mode"] = "bicubic"
            values |= {
                name: content[key] for name, key in (("mean", "image_mean"), ("std", "image_std")) if key in content
            }
            return read_pictures(values, str(path), default)
    return default


def _side(size: Any, crop: int) -> int:
    """Return the shorter side after scaling, in any of the ways that such files say it; at least what is cut out."""
    sides = list(size.values()) if isinstance(size, dict) else [size]
    numbers = [int(side) for side in sides if isinstance(side, (int, float))]
    return max(crop, min(numbers, default=crop))
