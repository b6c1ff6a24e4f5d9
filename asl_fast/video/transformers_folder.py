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
from asl_fast.video.network import NetworkBackbone, first_line
from asl_fast.video.pictures import IMAGENET_MEAN, IMAGENET_SD, Pictures
from asl_fast.video.processor_file import FILES, read_processor
from asl_fast.wording import count

_CLIP_FRAMES = 4
_CLIP_MEAN, _CLIP_SD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class _Kind(NamedTuple):
    """How a model is used.

    Attributes:
        model: Its class.
        size: Field of its configuration with the pixels of a side.
        frames: Field of its configuration with the frames; None where it takes any number of single ones.
        vector: What its vector is.
        mean: Of the colours that it was trained on, where no file beside it says so.
        sd: Likewise.
        mode: Likewise, how frames are scaled.
        margin: Likewise, the shorter side after scaling as a multiple of what is cut out.
    """

    model: str
    size: str
    frames: str | None
    vector: Callable[[Any, Tensor], Tensor]
    mean: tuple[float, ...] = IMAGENET_MEAN
    sd: tuple[float, ...] = IMAGENET_SD
    mode: str = "bilinear"
    margin: float = 1.0


def _mean_token(model: Any, frames: Tensor) -> Tensor:
    tokens: Tensor = model(pixel_values=frames).last_hidden_state
    return tokens.float().mean(dim=1)


def _first_token(model: Any, frames: Tensor) -> Tensor:
    tokens: Tensor = model(pixel_values=frames).last_hidden_state
    return tokens[:, 0]


def _encoder_mean(model: Any, frames: Tensor) -> Tensor:
    tokens: Tensor = model(pixel_values_videos=frames, skip_predictor=True).last_hidden_state
    return tokens.float().mean(dim=1)


def _mean_frame(model: Any, frames: Tensor) -> Tensor:
    vectors: Tensor = model(pixel_values=frames.flatten(0, 1)).image_embeds
    return vectors.float().reshape(*frames.shape[:2], -1).mean(dim=1)


KINDS = {
    "videomae": _Kind("VideoMAEModel", "image_size", "num_frames", _mean_token),
    "timesformer": _Kind("TimesformerModel", "image_size", "num_frames", _first_token, (0.45,) * 3, (0.225,) * 3),
    "vjepa2": _Kind("VJEPA2Model", "crop_size", "frames_per_clip", _encoder_mean, margin=256 / 224),
    "clip": _Kind("CLIPVisionModelWithProjection", "image_size", None, _mean_frame, _CLIP_MEAN, _CLIP_SD, "bicubic"),
}
"""Backbones by name, which is also the ``model_type`` of their configurations: VideoMAE (mean over its tokens),
TimeSformer (its class token), V-JEPA 2 (mean over the tokens of its encoder), CLIP (mean over 4 frames' embeddings)."""


def open_transformers(name: str, place: Path, device: torch.device, precision: str, window: int) -> NetworkBackbone:
    """Open a model that ``save_pretrained`` wrote; no code that lies with it is run.

    Args:
        name: One of ``KINDS``.
        place: A folder, or the id of a model on the Hugging Face hub, "owner/name", which is downloaded once: with
            ``config.json`` and ``*.safetensors``, and what says how its frames are prepared, see `read_processor`,
            unless that is as its kind is published.
        device: Where it is computed.
        precision: ``"fp32"``, or ``"bf16"`` for matrix products in bfloat16.
        window: Frames in a window.

    Raises:
        OSError: When the hub has no such model or cannot be reached.
        FileNotFoundError, ValueError: Naming the folder, for weights that are not there, not all there or of another
            kind, and for a network that takes more frames than a window has.
        ImportError: Without transformers.
    """
    folder = _found(place)
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
        model, loaded = model_class.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:  # of many types
        raise ValueError(f"{folder} cannot be loaded as {name} ({first_line(error)})") from None
    # What is not in the file would be drawn at random, and features would be noise that looks like features.
    if lacking := sorted(loaded["missing_keys"]):
        raise ValueError(f"{folder} lacks {count(len(lacking), 'weight')} of a {name} model, the first {lacking[0]!r}")
    model = model.to(device).eval()
    size = getattr(model.config, kind.size)
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    default = Pictures(int(max(height, width) * kind.margin), (height, width), kind.mean, kind.sd, kind.mode)
    pictures = read_processor(folder, default)
    digest = hashlib.sha256("".join(file_digest(path) for path in (config, *weights)).encode()).hexdigest()
    return NetworkBackbone(
        lambda frames: kind.vector(model, frames),
        pictures,
        min(_CLIP_FRAMES, window) if kind.frames is None else int(getattr(model.config, kind.frames)),
        window,
        Extraction(name, digest, pictures.words, precision, str(place)),
        device,
    )


def _found(place: Path) -> Path:
    """Return the folder of a model, downloaded where its place is no folder but an id."""
    if place.exists() or place.is_absolute() or len(place.parts) != 2 or place.parts[0].startswith("."):
        return place
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ImportError(
            f"--weights {place} is no folder; to download it as the id of a model: pip install huggingface_hub"
        ) from None
    try:
        return Path(snapshot_download(place.as_posix(), allow_patterns=["config.json", "*.safetensors", *FILES]))
    except Exception as error:  # what a download can raise has no end
        raise OSError(f"--weights {place} is no folder, and cannot be had from the hub ({first_line(error)})") from None
