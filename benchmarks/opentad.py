# SPDX-License-Identifier: Apache-2.0
"""OpenTAD's own code as a baseline, from the checkout that ``OPENTAD_DIR`` points at.

Nothing of it is part of this project: get it with ``git clone https://github.com/sming256/OpenTAD``. Its detectors on
features need ``pip install mmengine einops``; its video backbones, which need more, are left out. Its NMS has the name
of ActionFormer's, so that one process can load one of the two alone.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import types
from pathlib import Path
from typing import Any

from benchmarks import actionformer

VARIABLE = "OPENTAD_DIR"
BUILD = Path(__file__).resolve().parents[1] / "build" / "opentad"
# What these packages would import when they are: everything, down to compiled code for GPUs.
BARE: dict[str, dict[str, Any]] = {
    "opentad.models": {},
    "opentad.models.backbones": {"BackboneWrapper": None},
    "opentad.models.detectors": {},
}
PARTS = ("projections", "necks", "dense_heads", "losses", "detectors.actionformer")


class OpenTADError(RuntimeError):
    """The checkout cannot be used; the message says what to do."""


@functools.lru_cache(maxsize=1)
def load() -> types.SimpleNamespace | None:
    """Load ``build_detector``, ``batched_nms`` and ``root`` of the checkout; None where the variable is not set.

    Raises:
        OpenTADError: The folder is no checkout, a package is missing, or its NMS does not compile.
    """
    folder = os.environ.get(VARIABLE)
    if not folder:
        return None
    root = Path(folder).expanduser().resolve()
    nms = root / "opentad" / "models" / "utils" / "post_processing" / "nms"
    if not (nms / "nms.py").is_file():
        raise OpenTADError(f"{VARIABLE}={folder} holds no {(nms / 'nms.py').relative_to(root)}; point it at a checkout")
    if "libs.utils.nms" in sys.modules:
        raise OpenTADError("ActionFormer's NMS, of the same name, is loaded already: use another process")
    try:
        actionformer.load_nms(nms / "nms_cpu.cpp", BUILD)
    except actionformer.ActionFormerError as error:
        raise OpenTADError(str(error)) from None
    sys.path.insert(0, str(root))
    try:
        for name, content in BARE.items():
            module = types.ModuleType(name)
            module.__path__ = [str(root.joinpath(*name.split(".")))]
            vars(module).update(content)
            sys.modules[name] = module
        for part in PARTS:
            importlib.import_module(f"opentad.models.{part}")
        builder = importlib.import_module("opentad.models.builder")
        suppression = importlib.import_module("opentad.models.utils.post_processing.nms.nms")
    except ImportError as error:
        raise OpenTADError(f"OpenTAD's code does not import: {error}; pip install mmengine einops") from None
    finally:
        sys.path.remove(str(root))
    return types.SimpleNamespace(build_detector=builder.build_detector, batched_nms=suppression.batched_nms, root=root)
