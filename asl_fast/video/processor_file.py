# SPDX-License-Identifier: Apache-2.0
"""How the files beside a model of the transformers package say that its frames are prepared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asl_fast.files import number, read_json
from asl_fast.video.pictures import Pictures, read_pictures

FILES = ("processor_config.json", "video_preprocessor_config.json", "preprocessor_config.json")
_NESTED = ("video_processor", "image_processor")
_MODES = {2: "bilinear", 3: "bicubic"}


def read_processor(folder: Path, default: Pictures) -> Pictures:
    """Read how frames are prepared from the first of ``FILES`` that says so.

    Args:
        folder: Of the model.
        default: What holds where no file says otherwise; its cut is the size that the network takes.

    Raises:
        ValueError: Naming the file, for a preparation that is not known here, or not of the network's size.
    """
    for path in (folder / name for name in FILES):
        content = read_json(path) if path.is_file() else None
        if isinstance(content, dict) and path.name == FILES[0]:
            content = next((content[key] for key in _NESTED if isinstance(content.get(key), dict)), None)
        if content is not None:
            return _pictures(content, path, default)
    return default


def _pictures(content: object, path: Path, default: Pictures) -> Pictures:
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: expected keys and values, found {content!r:.80}")
    scale = content.get("rescale_factor", 1 / 255)
    if content.get("do_rescale") is False or not abs(number(scale, f"{path}: rescale_factor") - 1 / 255) < 1e-6:
        raise ValueError(f"{path}: colours that are not scaled from 0 to 1 are not supported")
    resample = content.get("resample")
    if resample is not None and resample not in _MODES:
        raise ValueError(f"{path}: 'resample' {resample!r} is not supported; 2 (bilinear) and 3 (bicubic) are")
    values: dict[str, Any] = {} if resample is None else {"mode": _MODES[resample]}
    if content.get("do_normalize") is False:
        values |= {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    else:
        values |= {name: content[f"image_{name}"] for name in ("mean", "std") if content.get(f"image_{name}")}
    values |= _sizes(content, path, default)
    found = read_pictures(values, str(path), default)
    if found.crop != default.crop:
        cut, taken = (" x ".join(map(str, crop)) for crop in (found.crop, default.crop))
        raise ValueError(f"{path}: frames are cut to {cut} pixels, but the network beside it takes {taken}")
    return found


def _sizes(content: Mapping[str, Any], path: Path, default: Pictures) -> dict[str, Any]:
    """Return what is scaled and cut: one side is the shorter one, height and width are both, out of proportion."""
    size, cut = content.get("size"), content.get("crop_size")
    values: dict[str, Any] = {}
    if size is not None and content.get("do_resize") is not False:
        sides = size if isinstance(size, Mapping) else {"shortest_edge": size}
        if sides.keys() == {"height", "width"}:
            values["size"] = [sides["height"], sides["width"]]
        elif sides.keys() == {"shortest_edge"}:
            values["size"] = sides["shortest_edge"]
        else:
            raise ValueError(f"{path}: 'size' {size!r:.80} is not supported; a shorter side, or height and width, is")
        values["crop"] = default.crop
    if cut is not None and content.get("do_center_crop") is not False:
        values["crop"] = [cut.get("height"), cut.get("width")] if isinstance(cut, Mapping) else cut
    return values
