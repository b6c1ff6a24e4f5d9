# SPDX-License-Identifier: Apache-2.0
"""The options of :class:`asl_fast.ASLLoss`, readable without loading torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Literal, get_args

from asl_fast.interval import FINITE, FROM_0, FROM_1, NOT_NEGATIVE, POSITIVE, SHARE, SHARE_BELOW_1, Interval
from asl_fast.serialization import LATER

Branch = Literal["cls", "loc"]
Normalization = Literal["batch", "none"]
Signal = Literal["loss", "likelihood", "evidence"]
ContrastiveLevels = Literal["finest", "assigned", "all"]
ContrastivePositives = Literal["sum", "each"]

RANGES: Mapping[str, Interval] = {
    "constant_weights": NOT_NEGATIVE,
    "center_sampling_radius": POSITIVE,
    "label_smoothing": SHARE_BELOW_1,
    "init_loss_norm": POSITIVE,
    "loss_norm_momentum": SHARE,
    "location_weight": FINITE,
    "contrastive_weight": NOT_NEGATIVE,
    "contrastive_memory": FROM_0,
    "delta": NOT_NEGATIVE,
    "temperature": POSITIVE,
    "sigma_min": POSITIVE,
    "sigma_max": POSITIVE,
    "mu_bound": POSITIVE,
    "evaluator_dim": FROM_1,
    "evaluator_kernel_size": FROM_1,
}
"""Allowed numbers by option, for the options of the command line as well; of a tuple every entry must be one."""

_OR_NONE = ("constant_weights", "center_sampling_radius", "evaluator_dim")


@dataclass(frozen=True)
class LossConfig:
    """Options of :class:`asl_fast.ASLLoss`, which takes them as this object or one by one as keyword arguments.

    Switching ``class_level``, ``instance_level`` and ``contrastive`` off gives ActionFormer's loss. Lengths are in
    instance lengths: 0.5 is the distance from the middle of an action to its end.

    Attributes:
        class_level: Learn Gaussians of the sensitivity per class (p in the paper).
        instance_level: Learn the sensitivity of single points from their features (q in the paper).
        contrastive: Add the contrastive loss over action-sensitive frames.
        branches: Sub-tasks whose positives are weighted by sensitivity, of "cls" and "loc".
        constant_weights: Fixed weights (classification, localisation) of all positives in the place of p + q, the
            control that any gain of the sensitivity has to beat; needs ``class_level`` and ``instance_level`` off.
        normalization: How a sensitivity h becomes a weight. "none" takes h as it is, which is the paper's form; "batch"
            scales the positives of a batch to a mean of 1, so that the loss cannot be lowered by shrinking all weights.
        detach_quality_features: Keep the gradient of the loss of q out of the detector: the evaluators then learn from
            features as they are, and change none. The paper does not say.
        signal: What mu and sigma of the Gaussians learn from. "loss" is the paper's: the gradient of the weighted
            losses. The other two leave that gradient out, and that of the contrastive loss, add a loss of their own,
            ``fit``, and want a learning rate of 0.01 to 0.03 of their own. "likelihood" fits the Gaussians to the
            quality of the predictions (:mod:`asl_fast.losses.likelihood`). "evidence" fits them to what a linear
            classifier finds in single input frames (:mod:`asl_fast.losses.evidence`); the classifier is trained along,
            and the loss needs ``frame_dim`` and the frames. :mod:`asl_fast.losses.sensitivity` says what each finds.
        center_sampling_radius: Points within this many strides of an action's centre are positive; None takes all
            points of the action.
        label_smoothing: Share s of the classification targets y that is spread over the classes:
            y (1 - s) + s / (C + 1).
        init_loss_norm: Initial value of the running count of positives by which both losses are divided.
        loss_norm_momentum: Momentum of that count.
        location_weight: Factor of the localisation loss. "auto", or a number <= 0, balances it against the
            classification loss: cls / max(loc, 0.01), treated as a constant.
        contrastive_weight: Factor of the contrastive loss (lambda in the paper).
        contrastive_levels: Where instances are compared: on the "finest" level, which is the paper's; on the levels
            they are "assigned" to, whose range holds half their length; or on "all" levels, each with every other.
        contrastive_memory: Number of vectors of earlier batches that every instance is compared with, beyond its own
            batch (three per instance and level); 0 keeps none, which is the paper's.
        contrastive_positives: How the positives of an anchor count: "sum" takes the logarithm of the sum of their
            similarities, which is the paper's and which one near positive satisfies; "each" the mean of the logarithms.
        delta: Half width of the sensitive ranges of the contrastive loss, in instance lengths.
        temperature: Divisor of the similarities in the contrastive loss.
        sigma_min: Lower bound of the Gaussians' widths, in instance lengths.
        sigma_max: Upper bound of the widths, in instance lengths.
        mu_bound: Largest distance of a Gaussian's centre from where it started, in instance lengths.
        pool_processes: Under several processes (torchrun), take their videos as one batch: positives are counted,
            weights normalised and instances compared over all of them, so that N processes with b videos each learn as
            one with N b. Otherwise each process has a loss of its own, and only gradients are averaged.
        evaluator_dim: Hidden channels of each network behind q; None is a quarter of the detector's.
        evaluator_kernel_size: Odd kernel of those networks.
    """

    class_level: bool = True
    instance_level: bool = True
    contrastive: bool = True
    branches: tuple[Branch, ...] = ("cls", "loc")
    constant_weights: tuple[float, float] | None = None
    normalization: Normalization = "batch"
    detach_quality_features: bool = field(default=True, metadata={"before": False})
    signal: Signal = "loss"
    center_sampling_radius: float | None = 1.5
    label_smoothing: float = 0.0
    init_loss_norm: float = 100.0
    loss_norm_momentum: float = 0.9
    location_weight: float | Literal["auto"] = 1.0
    contrastive_weight: float = 0.3
    contrastive_levels: ContrastiveLevels = field(default="finest", metadata=LATER)
    contrastive_memory: int = field(default=0, metadata=LATER)
    contrastive_positives: ContrastivePositives = field(default="sum", metadata=LATER)
    delta: float = 0.2
    temperature: float = 0.07
    sigma_min: float = 0.1
    sigma_max: float = 5.0
    mu_bound: float = 0.5
    pool_processes: bool = field(default=True, metadata={"before": False})
    evaluator_dim: int | None = None
    evaluator_kernel_size: int = 3

    def validate(self) -> None:
        """Check every option; how several fit together, the parts of the loss check themselves.

        Raises:
            ValueError: An option outside its range; the message begins with the option's name.
        """
        for name, kind in (
            ("normalization", Normalization),
            ("signal", Signal),
            ("contrastive_levels", ContrastiveLevels),
            ("contrastive_positives", ContrastivePositives),
        ):
            if getattr(self, name) not in get_args(kind):
                allowed = " or ".join(f'"{value}"' for value in get_args(kind))
                raise ValueError(f"{name} must be {allowed}, found {getattr(self, name)!r}")
        if not set(self.branches) <= set(get_args(Branch)) or len(set(self.branches)) != len(self.branches):
            raise ValueError(f'branches may hold "cls" and "loc", each once, found {tuple(self.branches)!r}')
        if self.constant_weights is not None and (self.class_level or self.instance_level):
            raise ValueError("constant_weights replaces the sensitivity: set class_level=instance_level=False")
        for name, interval in RANGES.items():
            found = getattr(self, name)
            if (found is None and name in _OR_NONE) or (name == "location_weight" and found == "auto"):
                continue
            for value in found if isinstance(found, tuple) else (found,):
                if not isinstance(value, Real):
                    word = ' or "auto"' if name == "location_weight" else ""
                    raise ValueError(f"{name} must be a number{word}, found {found!r}")
                if float(value) not in interval:
                    raise ValueError(f"{name} must {interval}, found {found}")
