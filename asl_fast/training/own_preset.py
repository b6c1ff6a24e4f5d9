# SPDX-License-Identifier: Apache-2.0
"""A configuration for one's own data, derived from the lengths of its videos and instances.

What cannot be read off the data (learning rate, width, most of the losses) is as for THUMOS14.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.annotations.video import Video
from asl_fast.data.custom.data import AnnotationTable, OwnData, open_own_data, own_name
from asl_fast.data.custom.decision import Decision
from asl_fast.data.custom.signals import SignalReading, open_own_signals, strides_of
from asl_fast.data.custom.split import SplitRule
from asl_fast.data.features.reading import FeatureReading
from asl_fast.data.report.annotations import segment_findings
from asl_fast.data.report.features import counting_findings
from asl_fast.data.report.lengths import lengths_grid, typical_step_sec
from asl_fast.data.report.units import unit_findings
from asl_fast.data.source import DataSource
from asl_fast.models.config import FrontEndConfig, doubling_ranges
from asl_fast.training.config import DataConfig, TrainConfig
from asl_fast.training.explanation import ranges_in_words
from asl_fast.training.presets import CONTRAST_WITH_MEMORY, SIZES, signals, thumos14, with_size, with_variant
from asl_fast.wording import count, examples, nearest, say_once

logger = logging.getLogger(__name__)

MAX_LENGTH_GRID = 2304
"""Longest training crop of the published configurations on long videos."""
FIRST_RANGE_GRID = 4.0
"""Upper end of the finest level's regression range, as published."""
MAX_LEVELS = 8
# A batch of 2 of the longest crops, as published; more videos only while an epoch still has this many batches.
_STEPS_PER_BATCH = 2 * MAX_LENGTH_GRID
_MIN_BATCHES = 50
# About as many as THUMOS14's schedule has. Gestures of SHREC'21, coordinates as features, stood at 29 % average mAP
# after 970 steps and at 64 % after 3,400.
_MIN_STEPS = 3200
_MAX_EPOCHS = 200
# Batches are padded to few lengths, each of which a GPU compiles or captures anew.
_PADDED_LENGTHS = 12
OF_THE_MODEL = ("pyramid levels", "first level", "regression")
"""Decisions that are not taken where an architecture is given."""


def own_data_name(annotations: str, known: Container[str]) -> str:
    """Name a data set of one's own after its annotation file, so that it cannot be taken for a benchmark."""
    name = own_name(annotations)
    return f"own-{name}" if name in known else name


def open_configured(config: TrainConfig, manifest: str | None = None, reading: FeatureReading | None = None) -> OwnData:
    """Open the data that a configuration names.

    Args:
        config: Names annotations and features.
        manifest: Name or file of a manifest that replaces the configuration's own.
        reading: How features lie in their files, which goes before what the manifest says.

    Raises:
        FileNotFoundError, ValueError: As `open_own_data`.
    """
    assert config.annotations is not None
    data = config.data
    table = AnnotationTable(data.columns, data.durations)
    rule = SplitRule(data.train_subset, data.test_subset, data.holdout_share, data.split_seed)
    if config.signals is not None:
        if config.features:
            raise ValueError("give either signals or features: both are what is learned from")
        return open_own_signals(
            config.annotations,
            config.signals,
            name=config.dataset,
            reading=SignalReading(
                data.signal_rate_hz, data.channels, data.samples_per_step, data.centre, data.velocities, data.clip_sd
            ),
            table=table,
            rule=rule,
            strict=data.strict,
        )
    return open_own_data(
        config.annotations,
        config.features,
        name=config.dataset,
        manifest=manifest or data.manifest,
        reading=reading,
        table=table,
        rule=rule,
        strict=data.strict,
    )


def check_units(own: OwnData) -> None:
    """Refuse data whose times are in another unit than seconds, or hold them as a channel, as `check_data` finds out.

    What is odd but may be meant is logged.

    Raises:
        ValueError: Saying what looks like frames or milliseconds, or which channel is none.
    """
    source = own.source
    lengths = lengths_grid([video for video in source.train if video.id in own.steps], own.steps, source.layout)
    for finding in (*source.findings, *unit_findings(source, own.steps, lengths), *segment_findings(source)):
        if finding.severity == "problem":
            raise ValueError(
                f"{source.name}: {finding.message}; {finding.fix}; --accept-units trains all the same, "
                "python -m asl_fast.check_data says more"
            )
    for finding in (*source.findings, *counting_findings(source)):
        say_once(logger, source.name, f"{finding.message}; {finding.fix}")


def own_preset(
    own: OwnData, asked: TrainConfig, size: str = "full", variant: str | None = None
) -> tuple[TrainConfig, tuple[Decision, ...]]:
    """Derive a configuration, with the reasons for what was derived, those of ``own`` first.

    Args:
        own: The data.
        asked: Names the data; its ``dataset``, ``annotations``, ``features`` and ``data.strict`` are kept. With its
            ``init_from`` the published epochs are enough, however few the videos.
        size: One of ``SIZES``.
        variant: Of the loss; None is ASL, without its contrastive part where there is one class.

    Raises:
        ValueError: For an unknown size or variant, or where no training instance is left.
    """
    if size not in SIZES:
        raise ValueError(f"unknown preset {size!r}; {nearest(size, SIZES)}")
    source = own.source
    train = [video for video in source.train if video.id in own.steps]
    lengths = lengths_grid(train, own.steps, source.layout)
    if not len(lengths):
        raise ValueError(
            f"{source.name}: none of the {count(len(train), 'training video')} has an instance inside the "
            f"video; are the segments of {source.annotation_path} in seconds, and is this the split to train on?"
        )
    step_sec = typical_step_sec(train, own.steps, source.layout)
    steps = np.array([source.layout.resize or own.steps[video.id] for video in train], np.float64)
    num_levels, first_level, level_reason = _levels(lengths, step_sec)
    coarsest = 2 ** (num_levels - 1)
    max_length, length_reason = _max_length(steps, lengths, coarsest, step_sec)
    batch_size = max(1, min(16, _STEPS_PER_BATCH // max_length, max(2, len(train) // _MIN_BATCHES)))
    rare, class_reasons = _classes(source.annotations.class_names, train)
    base = thumos14() if source.transform is None else _on_signals(source, asked.data)
    config = replace(
        base,
        dataset=asked.dataset,
        annotations=asked.annotations,
        features=asked.features,
        signals=asked.signals,
        batch_size=batch_size,
        data=replace(
            base.data,
            max_length=max_length,
            pad_multiple=math.ceil(max_length / _PADDED_LENGTHS / coarsest) * coarsest,
            strict=asked.data.strict,
            columns=asked.data.columns,
            durations=asked.data.durations,
            train_subset=own.split.train,
            test_subset=own.split.test,
            holdout_share=own.split.holdout_share,
            split_seed=own.split.seed,
            manifest=None if source.transform is not None else source.layout,
        ),
        model=replace(
            base.model,
            num_levels=num_levels,
            first_level=first_level,
            max_length_grid=max_length,
            rare_classes=rare,
        ),
        evaluation=replace(base.evaluation, convention="default"),
    )
    decisions = [*own.decisions, *class_reasons, *level_reason, length_reason]
    if variant is None and len(source.annotations.class_names) == 1:
        variant = "p+q"
        decisions.append(Decision("contrast", "none", "one class has nothing to contrast with", "loss.contrastive"))
    config = with_size(config, size)
    why = (
        f"up to 16 while a batch has at most {_STEPS_PER_BATCH} grid steps and an epoch {_MIN_BATCHES} batches, else 2"
        + (f"; no more in preset {size!r}" if config.batch_size < batch_size else "")
    )
    decisions.append(Decision("batch", count(config.batch_size, "video"), why, "batch_size"))
    if size != "smoke" and asked.init_from is None:  # given weights have learned already
        epochs, epochs_reason = _epochs(config.epochs, len(train), config.batch_size)
        every = config.evaluation.every * epochs // config.epochs
        config = replace(config, epochs=epochs, evaluation=replace(config.evaluation, every=every))
        decisions += epochs_reason
    partners = partners_in_batch(train, config.batch_size)
    remembers = partners < 1 and not config.loss.contrastive_memory
    if remembers:
        config = replace(config, loss=replace(config.loss, **CONTRAST_WITH_MEMORY))
    config = config if variant is None else with_variant(config, variant)
    if remembers and config.loss.contrastive and config.loss.contrastive_memory:
        value = f"also with {config.loss.contrastive_memory} vectors of earlier batches"
        why = f"in a batch an instance meets {partners:.2g} others of its class on average, fewer than one"
        decisions.append(Decision("contrast", value, why, "loss.contrastive_memory"))
    return config, tuple(decisions)


def _on_signals(source: DataSource, asked: DataConfig) -> TrainConfig:
    """Configure what is learned from raw signals, as for HAPT and SHREC: a small model with a front-end of its own."""
    assert source.transform is not None
    base, samples = signals(), source.transform.samples_per_step
    front_end = FrontEndConfig(samples, strides_of(samples), kernel_size=5 if samples == 1 else 11)
    kept = {name: getattr(asked, name) for name in ("channels", "centre", "velocities", "clip_sd")}
    data = replace(base.data, samples_per_step=samples, signal_rate_hz=source.layout.fps, **kept)
    return replace(base, data=data, model=replace(base.model, front_end=front_end))


def partners_in_batch(videos: Sequence[Video], batch_size: int) -> float:
    """Estimate how many others of its class an instance meets in a batch, on average over all instances.

    Args:
        videos: To draw batches from; at least one instance among them.
        batch_size: Videos in a batch, the others drawn at random.
    """
    in_all = Counter(label for video in videos for label in video.labels.tolist())
    pairs = sum(number * (number - 1) for number in in_all.values())
    in_one = sum(n * (n - 1) for video in videos for n in Counter(video.labels.tolist()).values())
    met = in_one + (pairs - in_one) * (batch_size - 1) / max(len(videos) - 1, 1)
    return met / in_all.total()


def _levels(lengths: NDArray[np.float64], step_sec: float) -> tuple[int, int, list[Decision]]:
    """Choose levels such that the longest instances fall to the last and the shortest to the first.

    Level k of the pyramid is responsible for half lengths from ``4 * 2**(k-1)`` to ``4 * 2**k`` steps.
    """
    short, long = (float(value) for value in np.quantile(lengths, (0.01, 0.99)))

    def level(length: float) -> int:
        return max(0, math.floor(math.log2(length / 2 / FIRST_RANGE_GRID)) + 1) if length > 0 else 0

    num_levels = min(max(level(long) + 1, 2), MAX_LEVELS)
    first_level = min(level(short), num_levels - 2, 2)
    decisions = [
        Decision(
            "pyramid levels",
            str(num_levels),
            f"the longest instances have {long:.0f} grid steps ({long * step_sec:.3g} s, 99th percentile), half of "
            f"which falls to level {num_levels - 1}",
            "model.num_levels",
        )
    ]
    if first_level:
        decisions.append(
            Decision(
                "first level",
                str(first_level),
                f"the shortest instances have {short:.0f} grid steps ({short * step_sec:.3g} s, 1st percentile), too "
                "long for the levels before, which only feed the next ones",
                "model.first_level",
            )
        )
    ranges = ranges_in_words(doubling_ranges(num_levels - first_level, FIRST_RANGE_GRID * 2**first_level))
    why = "doubling with the stride of the levels, see the histogram"
    decisions.append(Decision("regression", ranges, why, "model.ranges_grid"))
    return num_levels, first_level, decisions


def _max_length(
    steps: NDArray[np.float64], lengths: NDArray[np.float64], multiple: int, step_sec: float
) -> tuple[int, Decision]:
    """Choose the longest crop: all of the longest video, unless few are so long or it exceeds ``MAX_LENGTH_GRID``."""
    longest, most = float(steps.max()), float(np.quantile(steps, 0.95))
    wanted, which = longest, "the longest training video"
    if longest > 1.25 * most:
        wanted = max(most, min(float(np.quantile(lengths, 0.99)), longest))
        which = "95 % of the training videos and 99 % of their instances"
    if wanted > MAX_LENGTH_GRID:
        wanted, which = float(MAX_LENGTH_GRID), f"no more than the published {MAX_LENGTH_GRID}"
    length = max(multiple, math.ceil(wanted / multiple) * multiple)
    cut = int((steps > length).sum())
    cropped = f"; {cut} of {count(len(steps), 'video')} longer and cut at random" if cut else ""
    why = f"{which}, rounded up to a multiple of {multiple} for the coarsest level{cropped}"
    return length, Decision(
        "maximum length", f"{length} grid steps ({length * step_sec:.0f} s)", why, "data.max_length"
    )


def _epochs(least: int, videos: int, batch_size: int) -> tuple[int, list[Decision]]:
    """Decide how often the videos are seen: of few of them, an epoch has few steps."""
    batches = math.ceil(videos / batch_size)
    wanted = math.ceil(_MIN_STEPS / batches)
    epochs = min(wanted, _MAX_EPOCHS)
    if epochs <= least:
        return least, []
    made = count(batches, "batch", "batches")
    why = f"{_MIN_STEPS} steps are wanted, and an epoch of {count(videos, 'video')} has {made}"
    if epochs < wanted:
        why += f"; no more than {_MAX_EPOCHS} epochs"
    return epochs, [Decision("epochs", str(epochs), why, "epochs")]


def _classes(names: Sequence[str], train: Sequence[Video]) -> tuple[tuple[int, ...], list[Decision]]:
    """Find classes without a training instance."""
    present = {int(label) for video in train for label in video.labels}
    rare = tuple(label for label in range(len(names)) if label not in present)
    if not rare:
        return (), []
    value = f"{count(len(rare), 'class', 'classes')} ({examples([names[label] for label in rare])})"
    return rare, [Decision("rare classes", value, "without a training instance, so their classifiers start near 0")]
