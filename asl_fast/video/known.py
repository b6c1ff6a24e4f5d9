# SPDX-License-Identifier: Apache-2.0
"""Backbones by name or file."""

from __future__ import annotations

from pathlib import Path

from asl_fast.video.backbone import Backbone
from asl_fast.video.motion import MotionBackbone
from asl_fast.wording import nearest

NAMES = ("motion", "videomae", "timesformer", "vjepa2", "clip")
LIBRARIES = ("torchvision", "timm")
"""Of whose models any may be named, as "timm:NAME"."""
MODEL_FILES = (".pt2", ".onnx")
"""Endings of files that are backbones themselves."""


def is_named(backbone: str) -> bool:
    """Tell whether a backbone is named, and no file; its weights, if it has any, are given apart."""
    return backbone in NAMES or backbone.partition(":")[0] in LIBRARIES


def check_backbone(name: str, weights: Path | None) -> None:
    """Check what names a backbone, before anything is loaded.

    Raises:
        FileNotFoundError, ValueError: For an unknown name, a file that is not there, or weights that are missing or not
            needed.
    """
    if Path(name).suffix.lower() in MODEL_FILES:
        if not Path(name).exists():
            raise FileNotFoundError(f"--backbone {name} does not exist")
        if weights is not None:
            raise ValueError(f"--weights {weights}: {name} holds its own weights; leave the option out")
    elif not is_named(name):
        raise ValueError(
            f"--backbone {name} is unknown; {nearest(name, NAMES)}; torchvision:NAME, timm:NAME, and a .pt2 or .onnx "
            "file are ones, too"
        )
    elif (name == "motion") != (weights is None):
        place = f"the folder of a {name} model" if name in NAMES else "the file of its weights"
        raise ValueError(
            f"--backbone {name} has no weights; leave --weights out"
            if name == "motion"
            else f"--backbone {name} needs --weights, {place}"
        )


def open_backbone(
    name: str, weights: Path | None = None, *, window: int = 16, device: str = "cpu", precision: str = "fp32"
) -> Backbone:
    """Open a backbone.

    Args:
        name: One of ``NAMES``, a model of ``LIBRARIES``, or a .pt2 or .onnx file.
        weights: Folder of the weights, for all of ``NAMES`` but "motion"; their file for a model of a library.
        window: Frames in a window.
        device: "cpu", "cuda" or "cuda:N"; "auto" takes a GPU where there is one.
        precision: "fp32", or "bf16" for matrix products in bfloat16.

    Raises:
        FileNotFoundError, ValueError, ImportError: As `check_backbone`, and naming what cannot be loaded.
    """
    check_backbone(name, weights)
    # Imported here: what is above may be asked before torch is there.
    from asl_fast.environment import named_device

    place = named_device(device)
    if name == "motion":
        if precision != "fp32":
            raise ValueError(f"--backbone-precision {precision}: backbone motion computes in fp32 alone")
        return MotionBackbone()
    if weights is None:
        from asl_fast.video.model_file import open_model_file

        return open_model_file(Path(name), place, precision, window)
    if name not in NAMES:
        from asl_fast.video.library_models import open_library_model

        return open_library_model(name, weights, place, precision, window)
    from asl_fast.video.transformers_folder import open_transformers

    return open_transformers(name, weights, place, precision, window)
