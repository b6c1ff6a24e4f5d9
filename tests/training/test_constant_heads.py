# SPDX-License-Identifier: Apache-2.0
"""A run whose head has gone constant says so after every epoch; a healthy one says nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from asl_fast.models.config import DetectorConfig
from asl_fast.models.detector import ActionDetector
from asl_fast.training import state
from asl_fast.training.config import TrainConfig
from asl_fast.training.constant_heads import LEAST_POINTS, LEAST_SPREAD, constant_heads, head_spread
from asl_fast.training.loop import train
from asl_fast.training.metrics_log import read_metrics
from asl_fast.training.run_folder import RunFolder
from tests.training.tiny import CPU, tiny_bundle, tiny_config


def run(config: TrainConfig, folder: Path) -> list[dict[str, Any]]:
    """Train in a folder and return the records of its epochs."""
    run_folder = RunFolder(folder)
    run_folder.create()
    train(config, tiny_bundle(), run_folder, CPU, dataset_record={"name": "tiny"})
    return [record for record in read_metrics(folder / "metrics.jsonl") if record["kind"] == "epoch"]


def make_constant(detector: ActionDetector, which: str) -> None:
    tower = (detector.classification_head if which == "classes" else detector.regression_head).tower
    assert tower.output.bias is not None
    with torch.no_grad():
        channels = {"start": slice(0, 1), "end": slice(1, 2), "classes": slice(None)}[which]
        tower.output.weight[channels] = 0.0
        tower.output.bias[channels] = -5.0


def batch(length: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    features = torch.randn(2, length, 6, generator=torch.Generator().manual_seed(0))
    return features, torch.arange(length) < torch.tensor([[length], [length // 2]])


@pytest.mark.parametrize("which", LEAST_SPREAD)
def test_a_constant_output_is_found_and_named(which: str) -> None:
    torch.manual_seed(0)
    detector = ActionDetector(replace(tiny_config().model, feature_dim=6, num_classes=3)).train()
    assert not constant_heads(head_spread(detector, *batch(), autocast=False), 1)
    make_constant(detector, which)
    detector.regression_head.scales[1].scale.data.fill_(3.0)  # a level with another constant is no difference
    spread = head_spread(detector, *batch(), autocast=False)
    assert detector.training and not any(parameter.grad is not None for parameter in detector.parameters())
    (line,) = constant_heads(spread, 7)
    assert "epoch 7" in line and "--optimizer.lr" in line
    assert {"start": "distance to the start", "end": "distance to the end", "classes": "class scores"}[which] in line
    assert spread[f"spread_{which}"] < 1e-5 and all(v > 0.01 for k, v in spread.items() if k != f"spread_{which}")


def test_spread_is_the_standard_deviation_within_levels_of_the_longest_video() -> None:
    torch.manual_seed(0)
    detector = ActionDetector(replace(tiny_config().model, feature_dim=6, num_classes=3)).eval()
    features, mask = batch()
    features, mask = features.flip(0), mask.flip(0)
    with torch.no_grad():
        output = detector(features, mask)
    deviations = []
    for offsets, valid in zip(output.offsets, output.masks, strict=True):
        starts = [offsets[1, i, 0].item() for i in valid[1].nonzero().flatten().tolist()]
        deviations += [start - sum(starts) / len(starts) for start in starts]
    wanted = (sum(d * d for d in deviations) / len(deviations)) ** 0.5
    assert head_spread(detector, features, mask, autocast=False)["spread_start"] == pytest.approx(wanted, rel=1e-5)


def test_little_or_broken_data_say_nothing() -> None:
    detector = ActionDetector(replace(tiny_config().model, feature_dim=6, num_classes=3))
    features, mask = batch()
    few = torch.zeros_like(mask)
    few[0, 0] = True
    none = torch.zeros_like(mask)
    assert LEAST_POINTS > 3
    assert head_spread(detector, features, few, autocast=False) == {}
    assert head_spread(detector, features, none, autocast=False) == {}
    assert head_spread(detector, features * float("nan"), mask, autocast=False) == {}
    assert constant_heads({}, 1) == []
    assert head_spread(detector, features, mask, autocast=True).keys() == {f"spread_{name}" for name in LEAST_SPREAD}


def test_a_healthy_run_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    epochs = run(tiny_config(epochs=3), tmp_path)
    assert "warning" not in capsys.readouterr().out
    assert all(record[f"spread_{name}"] > least for record in epochs for name, least in LEAST_SPREAD.items())


def test_a_run_with_a_closed_head_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closed(ActionDetector):
        def __init__(self, config: DetectorConfig) -> None:
            super().__init__(config)
            make_constant(self, "start")

    monkeypatch.setattr(state, "ActionDetector", Closed)
    config = tiny_config(epochs=2)
    epochs = run(replace(config, model=replace(config.model, offset_activation="relu")), tmp_path)
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert len(said) == len(epochs) and "same distance to the start" in said[0] and "squareplus" in said[0]
    assert all(record["spread_start"] == 0.0 and record["spread_end"] > 0.01 for record in epochs)
