# SPDX-License-Identifier: Apache-2.0
"""Configurations: presets that fit together, a saved file that comes back equal, and wrong values refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from asl_fast.data.datasets.catalogue import DATASETS
from asl_fast.losses import ASLLoss, LossConfig
from asl_fast.models.config import DetectorConfig, InferenceConfig
from asl_fast.serialization import differing, flatten, from_dict, read_config, to_dict
from asl_fast.training.config import DataConfig, EvaluationConfig, OptimizerConfig, TrainConfig
from asl_fast.training.presets import BENCHMARK_PRESETS, SIZES, VARIANTS, preset, with_variant
from asl_fast.training.ranges import RANGES
from tests.training.tiny import tiny_config


def test_every_benchmark_has_a_preset() -> None:
    assert set(BENCHMARK_PRESETS) == set(DATASETS)
    assert all(preset(name).dataset == name for name in DATASETS)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", DATASETS)
def test_presets_are_valid_models(name: str, size: str) -> None:
    config = preset(name, size)
    config.validate()
    splits = sum(config.model.input_splits)
    replace(config.model, feature_dim=splits or 72, num_classes=3).validate()
    assert config.data.max_length % 2 ** (config.model.num_levels - 1) == 0


@pytest.mark.parametrize(
    ("name", "lr", "batch_size", "epochs", "kept"),
    [
        ("thumos14", 1e-4, 2, 30, 200),
        ("multithumos", 2e-4, 2, 60, 200),
        ("charades", 2e-4, 16, 30, 200),
        ("ego4d-mq", 2e-4, 2, 15, 2000),
        ("epic100-verb", 2e-4, 2, 25, 2000),
        ("epic100-noun", 2e-4, 2, 25, 2000),
        ("activitynet13", 1e-3, 16, 15, 100),
    ],
)
def test_full_presets_are_the_papers(name: str, lr: float, batch_size: int, epochs: int, kept: int) -> None:
    config = preset(name)
    found = (config.optimizer.lr, config.batch_size, config.epochs, config.inference.max_segments)
    assert found == (lr, batch_size, epochs, kept)
    assert (config.warmup_epochs, config.optimizer.weight_decay, config.optimizer.clip_norm) == (5, 0.05, 1.0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_build_a_loss(variant: str) -> None:
    config = with_variant(tiny_config(), variant)
    config.validate()
    loss = ASLLoss(2, 16, config.loss)
    trained = {name for name, parameter in loss.named_parameters() if parameter.requires_grad}
    assert bool({name for name in trained if name.startswith("gaussians")}) == (
        variant in ("p", "p+q", "p+ascl", "asl", "asl-paper")
    )
    assert bool({name for name in trained if name.startswith("evaluator")}) == (
        variant in ("q", "p+q", "asl", "asl-paper")
    )
    assert (loss.gaussians is not None) == (variant not in ("plain", "constant", "q"))
    assert config.loss.contrastive == ("as" in variant)


def test_the_papers_variant_learns_from_the_losses() -> None:
    own = preset("thumos14", variant="asl")
    paper = with_variant(own, "asl-paper")
    assert (own.loss.signal, own.loss.normalization) == ("evidence", "batch")
    assert (paper.loss.signal, paper.loss.normalization) == ("loss", "none")
    assert own.loss.detach_quality_features and not paper.loss.detach_quality_features
    assert own.optimizer.gaussian_lr is not None and paper.optimizer.gaussian_lr is None
    loss = ASLLoss(2, 16, paper.loss)
    assert loss.gaussians is not None
    assert torch.allclose(loss.gaussians.mu, torch.tensor([0.0, -0.5, 0.5]).expand(2, 3))
    assert torch.allclose(loss.gaussians.sigma, torch.ones(2, 3))


@pytest.mark.parametrize("name", DATASETS)
def test_configuration_survives_json(name: str) -> None:
    config = preset(name)
    assert from_dict(TrainConfig, json.loads(json.dumps(to_dict(config)))) == config


def test_saved_configuration_is_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    good = to_dict(tiny_config())

    def message(change: Any) -> str:
        values = json.loads(json.dumps(good))
        change(values)
        path.write_text(json.dumps(values))
        with pytest.raises(ValueError) as caught:
            read_config(TrainConfig, path)
        return str(caught.value)

    assert "unknown key 'model.widht'; did you mean 'width'?" in message(lambda v: v["model"].update(widht=3))

    def of_before(values: dict[str, Any]) -> None:
        for name in ("columns", "durations"):
            del values["data"][name]

    values = json.loads(json.dumps(good))
    of_before(values)
    path.write_text(json.dumps(values))
    assert read_config(TrainConfig, path) == tiny_config(), "what a run of before could not say was not given"
    assert "missing optimizer.lr" in message(lambda v: v["optimizer"].pop("lr"))
    assert "epochs must be int, found 'ten'" in message(lambda v: v.update(epochs="ten"))
    assert "compile must be bool, found 1" in message(lambda v: v.update(compile=1))
    assert "precision is 'bf61'; did you mean 'bf16'?" in message(lambda v: v.update(precision="bf61"))
    assert "model must hold keys and values, found 3" in message(lambda v: v.update(model=3))
    assert "config.json: loss.normalization is 'instance'" in message(
        lambda v: v["loss"].update(normalization="instance")
    )
    assert "loss.location_weight is 'balanced'" in message(lambda v: v["loss"].update(location_weight="balanced"))
    assert all(str(path) in message(lambda v, k=key: v.update({k: object.__name__})) for key in ("seed", "threads"))
    path.write_text('{"dataset": ')
    with pytest.raises(ValueError, match="not valid JSON"):
        read_config(TrainConfig, path)


def test_integers_count_as_floats_in_json() -> None:
    values = to_dict(tiny_config())
    values["optimizer"]["lr"] = 1
    values["data"]["synthetic_scale"] = 2
    config = from_dict(TrainConfig, values)
    assert config.optimizer.lr == 1.0
    assert isinstance(config.optimizer.lr, float)
    assert config.data.synthetic_scale == 2.0


@pytest.mark.parametrize("weight", [2, 0.5, -1, "auto"])
def test_location_weight_is_a_number_or_a_word(weight: Any) -> None:
    values = to_dict(tiny_config())
    values["loss"]["location_weight"] = weight
    config = from_dict(TrainConfig, values)
    config.validate()
    assert config.loss.location_weight == weight
    assert to_dict(config) == values


def test_differing_names_dotted_fields() -> None:
    config = tiny_config()
    other = replace(config, seed=1, optimizer=replace(config.optimizer, lr=2e-3))
    assert differing(config, other) == ["seed", "optimizer.lr"]
    assert differing(config, config) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, found 0"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"epochs": 0, "warmup_epochs": 0}, "nothing to train"),
        ({"optimizer": OptimizerConfig(lr=0.0)}, "optimizer.lr must be positive"),
        ({"optimizer": OptimizerConfig(lr=float("nan"))}, "optimizer.lr must be positive"),
        ({"optimizer": OptimizerConfig(ema_decay=1.0)}, "ema_decay"),
        ({"data": DataConfig(synthetic_scale=0.0)}, "synthetic_scale"),
        ({"evaluation": EvaluationConfig(tiou_thresholds=(0.0,))}, "tiou_thresholds"),
        ({"evaluation": EvaluationConfig(tiou_thresholds=())}, "tiou_thresholds"),
        ({"evaluation": EvaluationConfig(strict_thresholds=(1.5,))}, r"strict_thresholds must lie in \(0, 1\], found"),
        ({"evaluation": EvaluationConfig(convention="mine")}, "evaluation.convention: unknown .* 'mine'"),
        ({"inference": InferenceConfig(voting_threshold=7.0)}, r"voting_threshold must lie in \[0, 1\], found 7.0"),
        ({"inference": InferenceConfig(nms_sigma=0.0)}, "inference.nms_sigma must be positive and finite, found 0.0"),
        ({"inference": InferenceConfig(min_score=-0.1)}, r"inference.min_score must lie in \[0, 1\), found -0.1"),
        ({"inference": InferenceConfig(score_threshold=float("nan"))}, "inference.score_threshold must lie"),
        ({"inference": InferenceConfig(candidates_per_level=-1)}, "candidates_per_level must be at least 1, found -1"),
        ({"inference": InferenceConfig(max_segments=2**40)}, "inference.max_segments must be at most 2147483647"),
        ({"inference": InferenceConfig(nms_iou_threshold=0.0)}, "inference.nms_iou_threshold must lie"),
        ({"seed": 2**64}, "seed must be at most 9223372036854775807, found 18446744073709551616"),
        ({"data": DataConfig(synthetic_seed=2**64)}, "data.synthetic_seed must be at most"),
        ({"data": DataConfig(crop_ratio=(0.9, 0.1))}, "data.crop_ratio must be a smallest and a largest"),
        ({"data": DataConfig(fold=5)}, "data.fold must lie in 0 to 4, found 5"),
        ({"data": DataConfig(holdout_share=1.0)}, r"data.holdout_share must lie in \(0, 1\)"),
        ({"optimizer": OptimizerConfig(betas=(0.9, 1.0))}, r"optimizer.betas must lie in \[0, 1\), found \(0.9, 1.0\)"),
        ({"optimizer": OptimizerConfig(lr=float("inf"))}, "optimizer.lr must be positive and finite"),
        ({"loss": LossConfig(temperature=0.0)}, "loss.temperature must be positive"),
        ({"model": DetectorConfig(drop_path=1.0)}, "model.drop_path"),
        ({"threads": 2**33}, "threads must be at most"),
        ({"loss": LossConfig(constant_weights=(1.5, 2.3))}, "loss.constant_weights"),
        ({"loss": LossConfig(label_smoothing=1.0)}, r"loss.label_smoothing must lie in \[0, 1\), found 1.0"),
    ],
)
def test_values_out_of_range_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_config(**changes).validate()


def test_model_takes_width_and_classes_from_the_data() -> None:
    config = preset("thumos14").with_dataset(feature_dim=128, num_classes=20)
    assert (config.model.feature_dim, config.model.num_classes) == (128, 20)
    with pytest.raises(ValueError, match=r"model.feature_dim is 128, but thumos14 has 64"):
        config.with_dataset(feature_dim=64, num_classes=20)


def test_every_number_has_a_range() -> None:
    """A new option needs its line in the table, or a reason to be checked elsewhere."""
    elsewhere = {
        # By DetectorConfig.validate, once the data set is known.
        *(f"model.{name}" for name in ("width", "num_levels", "first_level", "num_heads", "head_layers")),
    }
    config = tiny_config()
    numbers = {
        name
        for name, value in flatten(config).items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    assert numbers - set(RANGES) == elsewhere
    assert set(RANGES) <= set(flatten(config))


def test_a_configuration_of_before_an_option_came_has_its_default() -> None:
    values = to_dict(tiny_config())
    came = [("data", "cache"), ("data", "columns"), ("", "graph"), ("", "profile")]
    for part, name in (*came, ("model", "offset_bins"), ("model", "attention_sides"), ("model", "head_blocks")):
        (values[part] if part else values).pop(name)
    assert from_dict(TrainConfig, values) == tiny_config()


@pytest.mark.parametrize(("before", "now"), [("auto", "auto"), ("on", "device"), ("off", "off")])
def test_features_that_were_resident_are_kept_there(before: str, now: str) -> None:
    values = to_dict(tiny_config())
    del values["data"]["cache"]
    values["data"]["resident"] = before
    assert from_dict(TrainConfig, values).data.cache == now


def test_a_configuration_of_before_the_heads_were_changed_keeps_its_heads() -> None:
    values = to_dict(tiny_config())
    assert values["model"].pop("offset_activation") == "squareplus"
    assert from_dict(TrainConfig, values).model == replace(tiny_config().model, offset_activation="relu")
