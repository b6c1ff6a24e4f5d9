# SPDX-License-Identifier: Apache-2.0
"""The numbers that every option may have, whether training reads it or only what comes after."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from asl_fast.serialization import flatten

LARGEST_SEED = 2**63 - 1
LARGEST_COUNT = 2**31 - 1


@dataclass(frozen=True)
class Interval:
    """Numbers from ``low`` to ``high``.

    Attributes:
        low: Lower end.
        high: Upper end.
        without_low: Whether the lower end is left out.
        without_high: Whether the upper end is left out.
    """

    low: float
    high: float = math.inf
    without_low: bool = False
    without_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.without_low else value >= self.low
        return above and (value < self.high if self.without_high else value <= self.high)

    def __str__(self) -> str:
        if self.high == math.inf:
            finite = " and finite" if self.without_high else ""
            positive = "be positive" if self.low == 0 else f"be more than {self.low:g}"
            return (positive if self.without_low else f"be at least {self.low:g}") + finite
        return (
            f"lie in {'(' if self.without_low else '['}{self.low:g}, {self.high:g}{')' if self.without_high else ']'}"
        )


_FROM_0, _FROM_1 = Interval(0), Interval(1)
_NOT_NEGATIVE = Interval(0, without_high=True)
_POSITIVE = Interval(0, without_low=True, without_high=True)
_SHARE = Interval(0, 1)
_SHARE_BELOW_1 = Interval(0, 1, without_high=True)
_SHARE_ABOVE_0 = Interval(0, 1, without_low=True)
_BETWEEN = Interval(0, 1, without_low=True, without_high=True)

RANGES: dict[str, Interval] = {
    "seed": _FROM_0,
    "epochs": _FROM_0,
    "warmup_epochs": _FROM_0,
    "batch_size": _FROM_1,
    "threads": _FROM_0,
    "process_timeout_sec": _POSITIVE,
    "log_every": _FROM_1,
    "profile": _FROM_0,
    "data.max_length": _FROM_1,
    "data.crop_ratio": _SHARE_ABOVE_0,
    "data.truncation_threshold": _SHARE,
    "data.pad_multiple": _FROM_0,
    "data.num_workers": _FROM_0,
    "data.synthetic_scale": _POSITIVE,
    "data.synthetic_seed": _FROM_0,
    "data.samples_per_step": _FROM_1,
    "data.num_channels": Interval(3, 6),
    "data.signal_rate_hz": _POSITIVE,
    "data.clip_sd": _NOT_NEGATIVE,
    "data.rotation_sd_deg": _NOT_NEGATIVE,
    "data.speed_range": _SHARE_BELOW_1,
    "data.turn_sd_deg": _NOT_NEGATIVE,
    "data.scale_range": _SHARE_BELOW_1,
    "data.jitter_sd": _NOT_NEGATIVE,
    "data.channel_dropout": _SHARE_BELOW_1,
    "data.mirror_probability": _SHARE,
    "data.fold": _FROM_0,
    "data.num_folds": Interval(2),
    "data.holdout_share": _BETWEEN,
    "data.split_seed": _FROM_0,
    "model.feature_dim": _FROM_0,
    "model.num_classes": _FROM_0,
    "model.embedding_layers": _FROM_0,
    "model.stem_blocks": _FROM_0,
    "model.mlp_ratio": _POSITIVE,
    "model.max_length_grid": _FROM_1,
    "model.neck_width": _FROM_0,
    "model.head_width": _FROM_0,
    "model.head_blocks": _FROM_0,
    "model.offset_bins": _FROM_0,
    "model.kernel_size": _FROM_1,
    "model.dropout": _SHARE_BELOW_1,
    "model.drop_path": _SHARE_BELOW_1,
    "model.prior_probability": _BETWEEN,
    "model.rare_classes": _FROM_0,
    "loss.center_sampling_radius": _POSITIVE,
    "loss.contrastive_weight": _NOT_NEGATIVE,
    "loss.delta": _NOT_NEGATIVE,
    "loss.temperature": _POSITIVE,
    "loss.sigma_min": _POSITIVE,
    "loss.sigma_max": _POSITIVE,
    "loss.mu_bound": _POSITIVE,
    "loss.evaluator_dim": _FROM_1,
    "loss.evaluator_kernel_size": _FROM_1,
    "optimizer.lr": _POSITIVE,
    "optimizer.weight_decay": _NOT_NEGATIVE,
    "optimizer.betas": _SHARE_BELOW_1,
    "optimizer.eps": _NOT_NEGATIVE,
    "optimizer.clip_norm": _FROM_0,
    "optimizer.loss_lr_multiplier": _NOT_NEGATIVE,
    "optimizer.gaussian_lr": _POSITIVE,
    "optimizer.min_lr": _NOT_NEGATIVE,
    "optimizer.ema_decay": _SHARE_BELOW_1,
    "inference.score_threshold": _SHARE_BELOW_1,
    "inference.candidates_per_level": _FROM_1,
    "inference.min_length_grid": _NOT_NEGATIVE,
    "inference.nms_sigma": _POSITIVE,
    "inference.nms_iou_threshold": _SHARE_ABOVE_0,
    "inference.min_score": _SHARE_BELOW_1,
    "inference.max_segments": _FROM_0,
    "inference.voting_threshold": _SHARE,
    "evaluation.every": _FROM_0,
    "evaluation.tiou_thresholds": _SHARE_ABOVE_0,
    "evaluation.strict_thresholds": _SHARE_ABOVE_0,
    "evaluation.batch_size": _FROM_1,
    "evaluation.spotting_threshold": _SHARE,
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
