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

from asl_fast.training.config import TrainConfig

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


def model(config: TrainConfig) -> Any:
    """Make ActionFormer's own detector of the size that ours has; None where the variable is not set, or it has none.

    Raises:
        ActionFormerError: As :func:`load`.
    """
    modules, ours = load(), config.model
    if modules is None or ours.front_end is not None or ours.backbone != "transformer" or ours.input_splits:
        return None
    inference, levels = config.inference, ours.num_levels - ours.first_level
    train = {
        "center_sample": "radius",
        "center_sample_radius": config.loss.center_sampling_radius or 1.5,
        "loss_weight": 1.0,
        "cls_prior_prob": ours.prior_probability,
        "init_loss_norm": config.loss.init_loss_norm,
        "clip_grad_l2norm": config.optimizer.clip_norm,
        "head_empty_cls": [],
        "dropout": ours.dropout,
        "droppath": ours.drop_path,
        "label_smoothing": config.loss.label_smoothing,
    }
    test = {
        "pre_nms_thresh": inference.score_threshold,
        "pre_nms_topk": inference.candidates_per_level,
        "iou_threshold": inference.nms_iou_threshold,
        "min_score": inference.min_score,
        "max_seg_num": inference.max_segments,
        "nms_method": "soft",
        "nms_sigma": inference.nms_sigma,
        "duration_thresh": inference.min_length_grid,
        "multiclass_nms": True,
        "ext_score_file": None,
        "voting_thresh": inference.voting_threshold or 0.0,
    }
    return modules.meta_archs.PtTransformer(
        backbone_type="convTransformer",
        fpn_type="fpn" if ours.fpn else "identity",
        backbone_arch=(ours.embedding_layers, ours.stem_blocks, ours.num_levels - 1),
        scale_factor=2,
        input_dim=ours.feature_dim,
        max_seq_len=config.data.max_length,
        max_buffer_len_factor=6.0,
        n_head=ours.num_heads,
        n_mha_win_size=[window or -1 for window in ours.windows],
        embd_kernel_size=ours.kernel_size,
        embd_dim=ours.width,
        embd_with_ln=ours.embedding_norm,
        fpn_dim=ours.neck_width or ours.width,
        fpn_with_ln=ours.neck_norm,
        fpn_start_level=ours.first_level,
        head_dim=ours.head_width or ours.width,
        regression_range=[list(pair) for pair in ours.ranges_grid[:levels]],
        head_num_layers=ours.head_layers,
        head_kernel_size=ours.kernel_size,
        head_with_ln=ours.head_norm,
        use_abs_pe=ours.positions == "absolute",
        use_rel_pe=ours.positions == "relative",
        num_classes=ours.num_classes,
        train_cfg=train,
        test_cfg=test,
    )


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
