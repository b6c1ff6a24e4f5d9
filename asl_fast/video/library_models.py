# SPDX-License-Identifier: Apache-2.0
"""Backbones of torchvision and timm: a model by its name there, with weights from a file, without its last layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from asl_fast.data.features.extraction import Extraction
from asl_fast.files import require_file
from asl_fast.video.model_file import file_digest
from asl_fast.video.network import NetworkBackbone, first_line
from asl_fast.video.pictures import Pictures
from asl_fast.wording import nearest

IMAGE_FRAMES = 4
"""Frames of a window that a network of single pictures sees; their vectors are averaged."""


class _Model(NamedTuple):
    """A model without its last layer.

    Attributes:
        module: Gives (B, dim) of what it takes.
        last: Names of the layers that were left out, whose weights nobody needs.
        pictures: How frames are prepared.
        frames: Frames that it takes; 0 is one picture, None any number.
        least_frames: Of any number, no fewer.
    """

    module: nn.Module
    last: tuple[str, ...]
    pictures: Pictures
    frames: int | None
    least_frames: int = 1


def open_library_model(name: str, weights: Path, device: torch.device, precision: str, window: int) -> NetworkBackbone:
    """Open a model of a library; nothing is downloaded.

    Args:
        name: As ``torchvision:r2plus1d_18`` or ``timm:vit_base_patch16_224``. Networks of videos get all frames of a
            window, those of pictures ``IMAGE_FRAMES``.
        weights: A .safetensors file, or what ``torch.save`` wrote of the weights alone.
        device: Where it is computed.
        precision: ``"fp32"``, or ``"bf16"`` for matrix products in bfloat16.
        window: Frames in a window.

    Raises:
        FileNotFoundError, ValueError: For an unknown name, and naming the file, for weights that are not there, not all
            there or of another model.
        ImportError: Without the library, or where it does not fit the torch that is installed.
    """
    library, _, known_as = name.partition(":")
    require_file(weights)
    try:
        model = _of_torchvision(known_as) if library == "torchvision" else _of_timm(known_as)
    except (ImportError, RuntimeError) as error:  # RuntimeError: torchvision of another torch
        raise ImportError(
            f"--backbone {name} needs {library}, of the release and build of the installed torch {torch.__version__} "
            f"({first_line(error)}): pip install {library}"
        ) from None
    _load(model, weights)
    module = model.module.to(device).eval()
    frames = min(IMAGE_FRAMES, window) if model.frames == 0 else model.frames or max(window, model.least_frames)
    run: Callable[[Tensor], Tensor] = module
    return NetworkBackbone(
        (lambda given: _averaged(run, given)) if model.frames == 0 else (lambda given: run(given.transpose(1, 2))),
        model.pictures,
        frames,
        window,
        Extraction(name, file_digest(weights), model.pictures.words, precision, str(weights)),
        device,
    )


def _averaged(run: Callable[[Tensor], Tensor], frames: Tensor) -> Tensor:
    """Average over the vectors of single pictures: (B, frames, 3, height, width) to (B, dim)."""
    vectors = run(frames.flatten(0, 1)).float()
    return vectors.reshape(*frames.shape[:2], -1).mean(dim=1)


def _of_torchvision(name: str) -> _Model:
    from torchvision import models

    names = models.list_models(models) + models.list_models(models.video)
    if name not in names:
        raise ValueError(f"--backbone torchvision:{name} is unknown; {nearest(name, names)}")
    module: nn.Module = models.get_model(name, weights=None)
    last = [key for key, part in module.named_modules() if isinstance(part, (nn.Linear, nn.Conv2d, nn.Conv3d))][-1]
    module.set_submodule(last, nn.Identity())
    published = models.get_model_weights(name).DEFAULT
    prepared = published.transforms()
    resized = [int(side) for side in prepared.resize_size]
    height, *rest = (int(side) for side in prepared.crop_size)
    pictures = Pictures(
        resized[0] if len(resized) == 1 else (resized[0], resized[1]),
        (height, rest[0] if rest else height),
        tuple(prepared.mean),
        tuple(prepared.std),
        prepared.interpolation.value,
    )
    if name not in models.list_models(models.video):
        return _Model(module, (last,), pictures, frames=0)
    least = int(published.meta.get("min_temporal_size", 1))
    # Positions in time of that network alone are learned for one number of frames.
    return _Model(module, (last,), pictures, least if name.startswith("mvit") else None, least)


def _of_timm(name: str) -> _Model:
    import timm

    if not timm.is_model(name):
        raise ValueError(f"--backbone timm:{name} is unknown; {nearest(name, timm.list_models())}")
    module = timm.create_model(name, pretrained=False, num_classes=0)
    given = timm.data.resolve_data_config(model=module)
    _, height, width = given["input_size"]
    share = 1.0 if given["crop_mode"] == "squash" else given["crop_pct"]
    size = (int(height / share), int(width / share))
    pictures = Pictures(
        min(size) if height == width and given["crop_mode"] == "center" else size,
        (height, width),
        tuple(given["mean"]),
        tuple(given["std"]),
        given["interpolation"],
    )
    last = module.pretrained_cfg.get("classifier") or ()
    return _Model(module, (last,) if isinstance(last, str) else tuple(last), pictures, frames=0)


def _load(model: _Model, path: Path) -> None:
    weights = _read(path)
    beginnings = tuple(f"{last}." for last in model.last)
    kept = {key: value for key, value in weights.items() if not (beginnings and key.startswith(beginnings))}
    try:
        missing, unexpected = model.module.load_state_dict(kept, strict=False)
    except RuntimeError as error:  # of another shape
        raise ValueError(f"{path} does not fit ({first_line(error)}{str(error).partition(chr(10))[2][:160]})") from None
    # What is not in the file would stay as it was drawn, and features would be noise that looks like features.
    if missing or unexpected:
        what = f"lacks {missing[0]!r}" if missing else f"holds {unexpected[0]!r}, which the model does not know"
        raise ValueError(f"{path} is not of this model: it {what}")


def _read(path: Path) -> dict[str, Tensor]:
    require_file(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        found = torch.load(path, map_location="cpu", weights_only=True)
    except ImportError:
        raise ImportError(f"{path} needs the safetensors package: pip install safetensors") from None
    except Exception as error:  # of many types
        raise ValueError(f"{path} cannot be read as weights ({first_line(error)})") from None
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(f"{path} holds more than weights by name; save the model's state_dict() alone")
    return found
