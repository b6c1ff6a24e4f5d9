# SPDX-License-Identifier: Apache-2.0
"""Every benchmark's preset fits its data: one step on two videos of its smallest twin."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from asl_fast.data.collate import collate
from asl_fast.data.datasets.catalogue import DATASETS
from asl_fast.training.data import load
from asl_fast.training.inference import detect_batch
from asl_fast.training.presets import preset
from asl_fast.training.state import TrainingState, TrainingStep, ragged_targets


@pytest.mark.parametrize("name", [name for name, entry in DATASETS.items() if entry.has_twin])
def test_a_step_on_the_smoke_twin(name: str) -> None:
    config = preset(name, "smoke")
    bundle = load(config)
    narrow = replace(config.model, width=32 if config.model.num_heads <= 4 else 64)
    config = replace(config, model=narrow).with_dataset(
        feature_dim=bundle.feature_dim, num_classes=len(bundle.class_names)
    )
    state = TrainingState(config, torch.device("cpu"))
    batch = collate([bundle.train[0], bundle.train[1]], pad_multiple=state.detector.length_multiple)
    losses = TrainingStep(state.detector, state.loss, autocast=False)(batch.features, batch.mask, ragged_targets(batch))
    losses["total"].backward()
    assert losses["num_positives"] > 0
    assert all(torch.isfinite(value).all() for value in losses.values())
    without = [n for n, p in state.detector.named_parameters() if p.grad is None]
    assert without == []

    test = collate([bundle.test[0]], pad_multiple=state.detector.length_multiple)
    (found,) = detect_batch(state.average.module, test, config.inference, autocast=False)
    assert 0 < len(found.scores) <= config.inference.max_segments
    assert found.segments.min() >= 0
    assert found.segments.max() <= test.durations_sec[0] + 1e-3
