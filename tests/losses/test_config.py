# SPDX-License-Identifier: Apache-2.0
"""The options of the loss: one list, given as an object or as keywords, readable without torch."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from asl_fast.losses import ASLLoss, LossConfig
from asl_fast.losses.config import RANGES
from tests.losses.scene import CLASSES, DIM

CHANGED: dict[str, Any] = {
    "class_level": False,
    "instance_level": False,
    "contrastive": False,
    "branches": ("cls",),
    "constant_weights": (1.5, 2.3),
    "normalization": "none",
    "signal": "likelihood",
    "center_sampling_radius": None,
    "label_smoothing": 0.1,
    "init_loss_norm": 200.0,
    "loss_norm_momentum": 0.5,
    "location_weight": "auto",
    "detach_quality_features": False,
    "contrastive_levels": "assigned",
    "contrastive_memory": 8,
    "contrastive_positives": "each",
    "contrastive_weight": 0.5,
    "delta": 0.1,
    "temperature": 0.1,
    "sigma_min": 0.2,
    "sigma_max": 3.0,
    "mu_bound": 0.4,
    "pool_processes": False,
    "evaluator_dim": 4,
    "evaluator_kernel_size": 5,
}


def test_an_object_and_keywords_say_the_same() -> None:
    assert set(CHANGED) == {field.name for field in fields(LossConfig)}
    config = LossConfig(**CHANGED)
    assert ASLLoss(CLASSES, DIM, config).config == ASLLoss(CLASSES, DIM, **CHANGED).config == config
    assert ASLLoss(CLASSES, DIM).config == LossConfig()
    assert all(getattr(config, field.name) != field.default for field in fields(LossConfig))


def test_a_keyword_replaces_the_options_own() -> None:
    loss = ASLLoss(CLASSES, DIM, LossConfig(class_level=False, delta=0.1), class_level=True)
    assert loss.config == LossConfig(delta=0.1)
    with pytest.raises(TypeError, match="class_levl"):
        ASLLoss(CLASSES, DIM, class_levl=False)


def test_options_are_read_without_torch() -> None:
    code = (
        "import sys; import asl_fast.losses.config as c; c.LossConfig().validate(); assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("init_loss_norm", math.inf, "be positive and finite, found inf"),
        ("location_weight", math.nan, "be finite, found nan"),
        ("location_weight", -math.inf, "be finite, found -inf"),
        ("location_weight", "balanced", "be a number or \"auto\", found 'balanced'"),
        ("contrastive_weight", -1, "be at least 0 and finite, found -1"),
        ("temperature", 0, "be positive and finite, found 0"),
        ("temperature", None, "be a number, found None"),
        ("delta", math.nan, "be at least 0 and finite, found nan"),
        ("center_sampling_radius", 0, "be positive and finite, found 0"),
        ("label_smoothing", 1.0, r"lie in \[0, 1\), found 1.0"),
        ("loss_norm_momentum", 1.5, r"lie in \[0, 1\], found 1.5"),
        ("contrastive_memory", -1, "be at least 0, found -1"),
        ("mu_bound", math.inf, "be positive and finite, found inf"),
        ("sigma_max", math.inf, "be positive and finite, found inf"),
        ("evaluator_dim", 0, "be at least 1, found 0"),
    ],
)
def test_a_number_out_of_range_is_named(option: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{option} must {message}"):
        ASLLoss(CLASSES, DIM, **{option: value})


def test_constant_weights_are_finite() -> None:
    with pytest.raises(ValueError, match=r"^constant_weights must be at least 0 and finite, found \(1.5, nan\)"):
        LossConfig(class_level=False, instance_level=False, constant_weights=(1.5, math.nan)).validate()


def test_every_number_has_a_range() -> None:
    numbers = {
        field.name
        for field in fields(LossConfig)
        if isinstance(getattr(LossConfig(), field.name), (int, float)) and not isinstance(field.default, bool)
    }
    assert set(RANGES) == numbers | {"constant_weights", "evaluator_dim"}
    LossConfig(location_weight=-1, center_sampling_radius=None, delta=np.float32(0.25)).validate()  # type: ignore[arg-type]


def test_the_rooms_door_names_what_is_behind_it() -> None:
    import asl_fast.losses as room

    assert set(room.__all__) == {"ASLLoss", "LossConfig", "RaggedTargets"}
    assert all(getattr(room, name).__name__ == name for name in room.__all__)
    with pytest.raises(AttributeError, match="'ASLoss'"):
        _ = room.ASLoss  # type: ignore[attr-defined]
