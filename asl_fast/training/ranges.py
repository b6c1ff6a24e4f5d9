# SPDX-License-Identifier: Apache-2.0
"""The numbers that every option may have, whether training reads it or only what comes after."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from asl_fast.interval import (
    BETWEEN,
    FROM_0,
    FROM_1,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    SHARE_ABOVE_0,
    SHARE_BELOW_1,
    Interval,
)
from asl_fast.losses.config import RANGES as LOSS_RANGES
from asl_fast.serialization import flatten

LARGEST_SEED = 2**63 - 1
LARGEST_COUNT = 2**31 - 1


RANGES: dict[str, Interval] = {
    "seed": FROM_0,
    "epochs": FROM_0,
    "warmup_epochs": FROM_0,
    "batch_size": FROM_1,
    "threads": FROM_0,
    "process_timeout_sec": POSITIVE,
    "log_every": FROM_1,
    "profile": FROM_0,
    "data.max_length": FROM_1,
    "data.crop_ratio": SHARE_ABOVE_0,
    "data.truncation_threshold": SHARE,
    "data.pad_multiple": FROM_0,
    "data.num_workers": FROM_0,
    "data.synthetic_scale": POSITIVE,
    "data.synthetic_seed": FROM_0,
    "data.samples_per_step": FROM_1,
    "data.num_channels": Interval(3, 6),
    "data.signal_rate_hz": POSITIVE,
    "data.clip_sd": NOT_NEGATIVE,
    "data.rotation_sd_deg": NOT_NEGATIVE,
    "data.speed_range": SHARE_BELOW_1,
    "data.turn_sd_deg": NOT_NEGATIVE,
    "data.scale_range": SHARE_BELOW_1,
    "data.jitter_sd": NOT_NEGATIVE,
    "data.channel_dropout": SHARE_BELOW_1,
    "data.mirror_probability": SHARE,
    "data.fold": FROM_0,
    "data.num_folds": Interval(2),
    "data.holdout_share": BETWEEN,
    "data.split_seed": FROM_0,
    "model.feature_dim": FROM_0,
    "model.num_classes": FROM_0,
    "model.embedding_layers": FROM_0,
    "model.stem_blocks": FROM_0,
    "model.mlp_ratio": POSITIVE,
    "model.max_length_grid": FROM_1,
    "model.neck_width": FROM_0,
    "model.head_width": FROM_0,
    "model.head_blocks": FROM_0,
    "model.offset_bins": FROM_0,
    "model.kernel_size": FROM_1,
    "model.dropout": SHARE_BELOW_1,
    "model.drop_path": SHARE_BELOW_1,
    "model.prior_probability": BETWEEN,
    "model.rare_classes": FROM_0,
    **{f"loss.{name}": allowed for name, allowed in LOSS_RANGES.items()},
    "optimizer.lr": POSITIVE,
    "optimizer.weight_decay": NOT_NEGATIVE,
    "optimizer.betas": SHARE_BELOW_1,
    "optimizer.eps": NOT_NEGATIVE,
    "optimizer.clip_norm": FROM_0,
    "optimizer.loss_lr_multiplier": NOT_NEGATIVE,
    "optimizer.gaussian_lr": POSITIVE,
    "optimizer.min_lr": NOT_NEGATIVE,
    "optimizer.ema_decay": SHARE_BELOW_1,
    "inference.score_threshold": SHARE_BELOW_1,
    "inference.candidates_per_level": FROM_1,
    "inference.min_length_grid": NOT_NEGATIVE,
    "inference.nms_sigma": POSITIVE,
    "inference.nms_iou_threshold": SHARE_ABOVE_0,
    "inference.min_score": SHARE_BELOW_1,
    "inference.max_segments": FROM_0,
    "inference.voting_threshold": SHARE,
    "evaluation.every": FROM_0,
    "evaluation.tiou_thresholds": SHARE_ABOVE_0,
    "evaluation.strict_thresholds": SHARE_ABOVE_0,
    "evaluation.batch_size": FROM_1,
    "evaluation.spotting_threshold": SHARE,
}
"""Allowed numbers by dotted name; every entry of a tuple must be one. None and words are a matter of the type."""

MOST = {"threads": 1024, "data.num_workers": 1024}
"""What no machine has more of: each costs memory before anything is computed."""

# A manifest checks itself.
_ELSEWHERE = "data.manifest."


def check_ranges(config: Any) -> None:
    """Check every number of a configuration.

    Args:
        config: Nested dataclasses with the names in `RANGES`.

    Raises:
        ValueError: Naming the option, the value found and what is allowed.
    """
    for name, values in flatten(config).items():
        if name.startswith(_ELSEWHERE):
            continue
        allowed = RANGES.get(name)
        for value in _numbers(values):
            if math.isnan(value) or (allowed is not None and value not in allowed):
                raise ValueError(f"{name} must {allowed or 'be a number'}, found {values}")
            largest = MOST.get(name, LARGEST_SEED if name.endswith("seed") else LARGEST_COUNT)
            if isinstance(value, int) and abs(value) > largest:
                raise ValueError(f"{name} must be at most {largest}, found {values}")


def _numbers(values: Any) -> Iterator[float]:
    """Go through the numbers in a value or in nested tuples."""
    if isinstance(values, tuple):
        for value in values:
            yield from _numbers(value)
    elif isinstance(values, (int, float)) and not isinstance(values, bool):
        yield values
