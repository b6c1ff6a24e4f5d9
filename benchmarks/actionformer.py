# SPDX-License-Identifier: Apache-2.0
"""ActionFormer's own code as a baseline, from the checkout that ``ACTIONFORMER_DIR`` points at.

Nothing of it is part of this project: get it with ``git clone https://github.com/happyharrycn/actionformer_release``.
It needs ``pip install pandas joblib``. Its compiled NMS is imported where the user has built it, and otherwise built
from the checkout's source into ``build/actionformer``.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch

VARIABLE = "ACTIONFORMER_DIR"
BUILD = Path(__file__).resolve().parents[1] / "build" / "actionformer"


class ActionFormerError(RuntimeError):
    """The checkout cannot be used; the message says what to do."""


class _Numpy(types.ModuleType):
    """Give numpy the alias ``float`` that its evaluator uses and version 1.24 removed."""

    float = float

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


@functools.lru_cache(maxsize=1)
def load() -> types.SimpleNamespace | None:
    """Load ``nms``, ``metrics`` and ``meta_archs`` of the checkout; None where the variable is not set.

    Raises:
        ActionFormerError: The folder is no checkout, a package is missing, or its NMS does not compile.
    """
    folder = os.environ.get(VARIABLE)
    if not folder:
        return None
    root = Path(folder).expanduser().resolve()
    if not (root / "libs" / "utils" / "nms.py").is_file():
        raise ActionFormerError(f"{VARIABLE}={folder} holds no libs/utils/nms.py; point it at a checkout")
    load_nms(root / "libs" / "utils" / "csrc" / "nms_cpu.cpp", BUILD)
    sys.path.insert(0, str(root))
    try:
        modules = {
            name.rpartition(".")[2]: importlib.import_module(f"libs.{name}")
            for name in ("utils.nms", "utils.metrics", "modeling.meta_archs")
        }
    except ImportError as error:
        raise ActionFormerError(f"ActionFormer's code does not import: {error}; pip install pandas joblib") from None
    finally:
        sys.path.remove(str(root))
    if not Path(modules["nms"].__file__ or "").is_relative_to(root):
        raise ActionFormerError(f"another package named libs is imported already: {modules['nms'].__file__}")
    modules["metrics"].np = _Numpy("numpy")  # type: ignore[attr-defined]
    return types.SimpleNamespace(**modules)


def labeller(num_classes: int, center_sampling_radius: float = 1.5) -> Any:
    """Make what its ``label_points`` and ``losses`` need of a detector, with those two as functions.

    Raises:
        ActionFormerError: As :func:`load`.
    """
    modules = load()
    if modules is None:
        raise ActionFormerError(f"set {VARIABLE} to a checkout of ActionFormer")
    detector = modules.meta_archs.PtTransformer
    stand_in = types.SimpleNamespace(
        num_classes=num_classes,
        train_center_sample="radius",
        train_center_sample_radius=center_sampling_radius,
        train_label_smoothing=0.0,
        train_loss_weight=1.0,
        loss_normalizer=100.0,
        loss_normalizer_momentum=0.9,
    )
    stand_in.label_points_single_video = types.MethodType(detector.label_points_single_video, stand_in)
    stand_in.label_points = types.MethodType(detector.label_points, stand_in)
    stand_in.losses = types.MethodType(detector.losses, stand_in)
    return stand_in


def load_nms(source: Path, build: Path) -> None:
    """Put ``nms_1d_cpu`` where ``import`` finds it.

    Args:
        source: Of the checkout; OpenTAD has one too, which takes other arguments.
        build: Where it is compiled.

    Raises:
        ActionFormerError: It does not compile.
    """
    try:
        importlib.import_module("nms_1d_cpu")
        return
    except ImportError:
        pass
    from torch.utils import cpp_extension

    build.mkdir(parents=True, exist_ok=True)
    # A venv's own ninja.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    try:
        # As its setup.py has it; -O3 is what setuptools adds there.
        built = cpp_extension.load(
            "nms_1d_cpu", [str(source)], extra_cflags=["-O3", "-fopenmp"], build_directory=str(build)
        )
    except (OSError, RuntimeError, ImportError) as error:
        raise ActionFormerError(
            f"{source} does not compile: {str(error).strip().splitlines()[-1]}; build it as its project says (torch "
            f"{torch.__version__})"
        ) from error
    sys.modules["nms_1d_cpu"] = built
