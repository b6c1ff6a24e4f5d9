# SPDX-License-Identifier: Apache-2.0
"""One training configuration per benchmark, in three sizes, and the variants of the loss that an ablation compares.

Learning rates, batch sizes and epochs are those of the ASL paper (Shao et al., ICCV 2023), the rest ActionFormer's
published configurations. The paper does not say whether its epochs include the warm-up; here they come on top of it, as
in ActionFormer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from asl_fast.data.datasets.catalogue import needs_its_data
from asl_fast.losses.config import LossConfig
from asl_fast.models.config import DetectorConfig, FrontEndConfig, InferenceConfig
from asl_fast.training.config import DataConfig, EvaluationConfig, OptimizerConfig, TrainConfig
from asl_fast.wording import nearest

SIZES = ("full", "reduced", "smoke")
_TENTHS_FROM_1 = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_TWENTIETHS_FROM_5 = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
_OVERLAPPING = ((0.0, 4.0), (2.0, 8.0), (4.0, 16.0), (8.0, 32.0), (16.0, 64.0), (32.0, 128.0), (64.0, 256.0))

# What measured best on the synthetic twins, see `asl_fast.losses.evidence` and docs/results.md; in the paper the signal
# is "loss", the contrastive weight 0.3, and instances are compared on the finest level.
_EVIDENCE = LossConfig(signal="evidence", contrastive_weight=0.1, contrastive_levels="all")
CONTRAST_WITH_MEMORY: dict[str, Any] = {
    "contrastive_weight": 0.3,
    "contrastive_levels": "assigned",
    "contrastive_memory": 512,
    "contrastive_positives": "each",
    "temperature": 0.2,
}
"""Changes to LossConfig where a batch holds few instances of a class, as with sensors and skeletons: contrast on the
level that finds an instance, with instances of the batches before. What measured best on unlike hands of SHREC'22, see
docs/results.md."""
_EVIDENCE_WITH_MEMORY = replace(_EVIDENCE, **CONTRAST_WITH_MEMORY)
# Of the Gaussians, for the few hundred steps of the small presets and the thousands of the full ones.
_GAUSSIAN_LR_SMALL, _GAUSSIAN_LR = 0.03, 0.01
_PAD_MULTIPLE_SMALL = 64

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"class_level": False, "instance_level": False, "contrastive": False},
    "constant": {"class_level": False, "instance_level": False, "contrastive": False, "constant_weights": (1.5, 2.3)},
    "p": {"class_level": True, "instance_level": False, "contrastive": False},
    "q": {"class_level": False, "instance_level": True, "contrastive": False},
    "p+q": {"class_level": True, "instance_level": True, "contrastive": False},
    "ascl": {"class_level": False, "instance_level": False, "contrastive": True},
    "p+ascl": {"class_level": True, "instance_level": False, "contrastive": True},
    "asl": {"class_level": True, "instance_level": True, "contrastive": True},
    "asl-paper": {
        "class_level": True,
        "instance_level": True,
        "contrastive": True,
        "branches": ("cls", "loc"),
        "normalization": "none",
        "detach_quality_features": False,
        "signal": "loss",
        "contrastive_weight": 0.3,
        "contrastive_levels": "finest",
        "contrastive_memory": 0,
        "contrastive_positives": "sum",
        "delta": 0.2,
        "temperature": 0.07,
    },
}
"""Changes to LossConfig by name: ActionFormer, its control with constant weights, the branches of ASE, the contrastive
loss around fixed Gaussians, with p, all of ASL, and ASL to the letter of the paper, whose Gaussians learn from the
weighted losses themselves, unnormalised, at the learning rate of the network. The others keep the form of the
preset."""


def thumos14() -> TrainConfig:
    """Configure THUMOS14 on I3D features."""
    return TrainConfig(
        dataset="thumos14",
        epochs=30,
        batch_size=2,
        loss=_EVIDENCE,
        optimizer=OptimizerConfig(lr=1e-4, gaussian_lr=_GAUSSIAN_LR),
        evaluation=EvaluationConfig(convention="published"),
    )


def multithumos() -> TrainConfig:
    """Configure MultiTHUMOS on I3D features."""
    return replace(
        thumos14(),
        dataset="multithumos",
        epochs=60,
        optimizer=OptimizerConfig(lr=2e-4, gaussian_lr=_GAUSSIAN_LR),
        evaluation=EvaluationConfig(tiou_thresholds=_TENTHS_FROM_1, convention="published"),
    )


def charades() -> TrainConfig:
    """Configure Charades on I3D features, with full attention and absolute positions."""
    return TrainConfig(
        dataset="charades",
        epochs=30,
        batch_size=16,
        # Most videos have 80 to 96 steps: padded to multiples of 256, two thirds of all would be padding.
        data=DataConfig(max_length=768, pad_multiple=64),
        model=DetectorConfig(num_levels=7, attention_windows=(0,), positions="absolute", max_length_grid=768),
        loss=_EVIDENCE,
        optimizer=OptimizerConfig(lr=2e-4, gaussian_lr=_GAUSSIAN_LR),
        evaluation=EvaluationConfig(tiou_thresholds=_TENTHS_FROM_1, convention="published"),
    )


def ego4d_mq() -> TrainConfig:
    """Configure Ego4D moment queries on SlowFast, Omnivore and EgoVLP features."""
    return TrainConfig(
        dataset="ego4d-mq",
        epochs=15,
        batch_size=2,
        data=DataConfig(max_length=1024, pad_multiple=128, truncation_threshold=0.3),
        model=DetectorConfig(
            width=1024,
            num_levels=8,
            num_heads=16,
            attention_windows=(9,),
            input_splits=(2304, 1536, 256),
            projection_dims=(256, 384, 384),
            positions="absolute",
            max_length_grid=1024,
            regression_ranges=(*_OVERLAPPING, (128.0, 10000.0)),
            dropout=0.1,
        ),
        loss=_EVIDENCE,
        optimizer=OptimizerConfig(lr=2e-4, gaussian_lr=_GAUSSIAN_LR),
        inference=InferenceConfig(candidates_per_level=5000, max_segments=2000, nms_sigma=0.9),
        evaluation=EvaluationConfig(tiou_thresholds=_TENTHS_FROM_1[:5]),
    )


def epic100_verb() -> TrainConfig:
    """Configure EPIC-Kitchens-100 verbs on SlowFast features."""
    return TrainConfig(
        dataset="epic100-verb",
        epochs=25,
        batch_size=2,
        data=DataConfig(truncation_threshold=0.3),
        model=DetectorConfig(attention_windows=(9,), regression_ranges=(*_OVERLAPPING[:5], (32.0, 10000.0))),
        loss=replace(_EVIDENCE, init_loss_norm=250),
        optimizer=OptimizerConfig(lr=2e-4, gaussian_lr=_GAUSSIAN_LR),
        inference=InferenceConfig(candidates_per_level=5000, max_segments=2000, nms_sigma=0.4),
        evaluation=EvaluationConfig(tiou_thresholds=_TENTHS_FROM_1[:5]),
    )


def epic100_noun() -> TrainConfig:
    """Configure EPIC-Kitchens-100 nouns on SlowFast features."""
    return replace(epic100_verb(), dataset="epic100-noun")


def activitynet13() -> TrainConfig:
    """Configure ActivityNet 1.3 on TSP features, which are resized to 192 steps."""
    return TrainConfig(
        dataset="activitynet13",
        epochs=15,
        batch_size=16,
        data=DataConfig(max_length=192, pad_multiple=0),
        model=DetectorConfig(
            width=256, attention_windows=(7, 7, 7, 7, 7, 0), positions="absolute", max_length_grid=192
        ),
        loss=replace(_EVIDENCE, init_loss_norm=200, location_weight=2.0, label_smoothing=0.1),
        optimizer=OptimizerConfig(lr=1e-3, gaussian_lr=_GAUSSIAN_LR),
        inference=InferenceConfig(
            min_length_grid=0.001, max_segments=100, nms_sigma=0.75, class_agnostic=True, voting_threshold=0.9
        ),
        evaluation=EvaluationConfig(tiou_thresholds=_TWENTIETHS_FROM_5, batch_size=16),
    )


def hapt() -> TrainConfig:
    """Configure UCI HAPT, smartphone recordings: a learned front-end on the raw samples.

    Chosen by cross-validation among the training users. What mattered: the learned front-end, a grid of 6 samples
    (0.12 s) whose finest level only feeds the next ones (no instance is that short), small random rotations of the
    sensors with small changes of speed, and enough epochs.
    """
    return TrainConfig(
        dataset="hapt",
        epochs=30,
        batch_size=2,
        precision="auto",
        data=DataConfig(max_length=5632, samples_per_step=6, rotation_sd_deg=9.0, speed_range=0.15),
        model=DetectorConfig(
            width=128,
            num_levels=7,
            first_level=1,
            attention_windows=(9,),
            stem_blocks=0,
            max_length_grid=5632,
            front_end=FrontEndConfig(samples_per_step=6, strides=(2, 3)),
        ),
        optimizer=OptimizerConfig(lr=1e-3, ema_decay=0.99),
        evaluation=EvaluationConfig(every=0, strict_thresholds=_TWENTIETHS_FROM_5),
    )


def signals() -> TrainConfig:
    """Configure what is learned from raw signals, whatever they are: a small detector, and changes in training.

    What rotations and sizes change depends on the kinds of channels, see `asl_fast.data.augment`.
    """
    return TrainConfig(
        dataset="",
        epochs=20,
        batch_size=2,
        precision="auto",
        # More change than this (turns of 20 degrees, sizes, noise, joints left out) cost 2 to 4 points of strict mAP in
        # cross-validation on SHREC'22, by recording as well as by hand.
        data=DataConfig(rotation_sd_deg=9.0, speed_range=0.15),
        model=DetectorConfig(width=128, attention_windows=(9,), stem_blocks=0),
        loss=_EVIDENCE_WITH_MEMORY,
        optimizer=OptimizerConfig(lr=1e-3, ema_decay=0.99, gaussian_lr=_GAUSSIAN_LR_SMALL),
        evaluation=EvaluationConfig(every=0, strict_thresholds=_TWENTIETHS_FROM_5),
    )


def shrec22() -> TrainConfig:
    """Configure SHREC'22, joints of a hand: a learned front-end on positions and velocities."""
    base = signals()
    return replace(
        base,
        dataset="shrec22",
        data=replace(
            base.data,
            max_length=768,
            pad_multiple=64,
            samples_per_step=1,
            centre="joint",
            velocities=True,
            clip_sd=8.0,
        ),
        model=replace(
            base.model,
            num_levels=5,
            max_length_grid=768,
            front_end=FrontEndConfig(samples_per_step=1, strides=(1, 1), kernel_size=5),
        ),
    )


def shrec21() -> TrainConfig:
    """Configure SHREC'21, joints of a hand at 50 Hz; as SHREC'22 where nothing is said."""
    base = shrec22()
    return replace(
        base,
        dataset="shrec21",
        data=replace(base.data, max_length=1216, samples_per_step=2),
        model=replace(
            base.model,
            num_levels=6,
            max_length_grid=1216,
            front_end=FrontEndConfig(samples_per_step=2, strides=(1, 2), kernel_size=5),
        ),
    )


BENCHMARK_PRESETS: dict[str, Callable[[], TrainConfig]] = {
    "thumos14": thumos14,
    "multithumos": multithumos,
    "charades": charades,
    "ego4d-mq": ego4d_mq,
    "epic100-verb": epic100_verb,
    "epic100-noun": epic100_noun,
    "activitynet13": activitynet13,
    "hapt": hapt,
    "shrec22": shrec22,
    "shrec21": shrec21,
}


def preset(dataset: str, size: str = "full", variant: str | None = None) -> TrainConfig:
    """Make the configuration of a benchmark.

    Args:
        dataset: Benchmark name.
        size: "full" as published; "reduced", a small model on a small twin for minutes on a CPU; "smoke", for one.
        variant: A key of ``VARIANTS``; None keeps the preset's loss.

    Raises:
        ValueError: For an unknown name, with the nearest known one.
    """
    for kind, name, known in (("data set", dataset, BENCHMARK_PRESETS), ("preset", size, SIZES)):
        if name not in known:
            raise ValueError(f"unknown {kind} {name!r}; {nearest(name, known)}")
    config = with_size(BENCHMARK_PRESETS[dataset](), size)
    return config if variant is None else with_variant(config, variant)


def with_variant(config: TrainConfig, variant: str) -> TrainConfig:
    """Give a run another variant of the loss.

    Raises:
        ValueError: For a name that is not in ``VARIANTS``, with the nearest that is.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; {nearest(variant, VARIANTS)}")
    changes = VARIANTS[variant]
    config = replace(config, loss=replace(config.loss, **{"constant_weights": None} | changes))
    if changes.get("signal") != "loss":
        return config
    # A rate of their own is for Gaussians with a signal of their own.
    return replace(config, optimizer=replace(config.optimizer, gaussian_lr=None))


def with_size(config: TrainConfig, size: str) -> TrainConfig:
    """Bring a full configuration to another of the ``SIZES``."""
    if size == "full":
        return config
    real, smoke = needs_its_data(config.dataset), size == "smoke"
    model = config.model
    if not real:
        # The small twins have fewer channels than the extractors together, so there is nothing to split.
        model = replace(model, width=128, num_heads=4, input_splits=(), projection_dims=())
    return replace(
        config,
        epochs=(4 if real else 14) if smoke else (config.epochs if real else 15),
        warmup_epochs=1 if smoke else min(config.warmup_epochs, 3),
        batch_size=min(config.batch_size, 4),
        data=replace(
            config.data,
            synthetic_scale="smoke" if smoke else "reduced",
            # Few padded lengths spare a GPU graphs and compilation; on a CPU any length costs what it is long.
            pad_multiple=min(config.data.pad_multiple, _PAD_MULTIPLE_SMALL),
        ),
        model=model,
        optimizer=config.optimizer if real else replace(config.optimizer, lr=1e-3, gaussian_lr=_GAUSSIAN_LR_SMALL),
        evaluation=replace(config.evaluation, every=0),
    )
