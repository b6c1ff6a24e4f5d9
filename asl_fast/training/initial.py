# SPDX-License-Identifier: Apache-2.0
"""Weights that a run starts from: of an earlier run, of an exported detector, or of ActionFormer's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from asl_fast.models.actionformer_files import model_of, read_config, read_published
from asl_fast.models.config import DetectorConfig
from asl_fast.models.detector import ActionDetector
from asl_fast.models.pretrained import CONFIG, WEIGHTS, check_fit, read_pretrained_config, read_weights
from asl_fast.training.checkpoint import CheckpointError, check_finite, load_checkpoint, saved_config
from asl_fast.training.config import TrainConfig
from asl_fast.training.restoring import check_keys
from asl_fast.training.run_folder import RunFolder
from asl_fast.wording import count, examples

CLASSIFIER = "classification_head.tower.output."
"""What names of the weights begin with that belong to single classes."""

_LEAVE = "leave the options --model.* as they follow from --init-from"


@dataclass(frozen=True)
class Initial:
    """A trained detector.

    Attributes:
        path: Where it lies.
        model: Its architecture.
        weights: By name.
        class_names: By label; None where the file does not say.
    """

    path: Path
    model: DetectorConfig
    weights: Mapping[str, Tensor]
    class_names: tuple[str, ...] | None


def architecture(init_from: Path, af_config: Path | None) -> DetectorConfig:
    """Return the architecture of what a run starts from, whatever the number of its channels and classes.

    Raises:
        FileNotFoundError, ImportError, ValueError: As `read_initial`.
    """
    model = read_initial(init_from, None).model if af_config is None else model_of(read_config(af_config), af_config)
    return replace(model, feature_dim=0, num_classes=0, rare_classes=())


def read_initial(init_from: Path, af_config: Path | None) -> Initial:
    """Read what a run starts from.

    Args:
        init_from: A run folder, a checkpoint, a folder that export wrote, or a checkpoint of ActionFormer's.
        af_config: The YAML file of that.

    Raises:
        FileNotFoundError: When it is not there.
        ImportError: Without the package that a file needs.
        ValueError: Naming the file and what in it cannot be used.
    """
    if not init_from.exists():
        raise FileNotFoundError(f"--init-from {init_from} does not exist")
    if af_config is not None:
        if init_from.is_dir():
            raise ValueError(f"--init-from {init_from} is a folder: with --af-config, name a checkpoint file in it")
        published = read_published(init_from, af_config)
        return Initial(init_from, published.model, published.weights, None)
    if (init_from / WEIGHTS).is_file():
        return _exported(init_from)
    path = RunFolder(init_from).last if init_from.is_dir() else init_from
    try:
        content = load_checkpoint(path)
    except CheckpointError as error:
        if "is a checkpoint of ActionFormer" in str(error):
            raise CheckpointError(
                f"{path} is a checkpoint of ActionFormer: name its YAML file, --af-config YAML"
            ) from None
        raise
    check_keys(content, ("config", "dataset", "average"), path)
    weights = content["average"].get("module")
    if not isinstance(weights, Mapping):
        raise CheckpointError(f"{path} lacks 'average.module'; use another checkpoint")
    check_finite(content, ["average"], path)
    names = content["dataset"].get("class_names")
    return Initial(path, saved_config(content, path).model, weights, None if names is None else tuple(names))


class Start(NamedTuple):
    """Weights by name, without those of the classes where these are others; and a line that says what they are."""

    weights: dict[str, Tensor]
    line: str


def starting_weights(config: TrainConfig, class_names: Sequence[str]) -> Start | None:
    """Read and choose the weights that a run starts from; None where it starts from none.

    Args:
        config: The run, with the model's inputs and outputs as the data set has them.
        class_names: Of the data set, by label.

    Raises:
        FileNotFoundError, ImportError, ValueError: As `read_initial` and `fit`.
    """
    if config.init_from is None:
        return None
    af_config = None if config.af_config is None else Path(config.af_config)
    return fit(read_initial(Path(config.init_from), af_config), config, class_names)


def fit(initial: Initial, config: TrainConfig, class_names: Sequence[str]) -> Start:
    """Choose the weights that a run starts from.

    Args:
        initial: What was trained before.
        config: The run, with the model's inputs and outputs as the data set has them.
        class_names: Of the data set, by label.

    Raises:
        CheckpointError: When the features or the architecture are others, naming the weight that does not fit.
    """
    path, model = initial.path, config.model
    if initial.model.feature_dim != model.feature_dim:
        raise CheckpointError(
            f"{path} was trained on features of {initial.model.feature_dim} channels, {config.dataset} has "
            f"{model.feature_dim}: give the features that it was trained on"
        )
    with torch.device("meta"):
        expected = ActionDetector(model).state_dict()
    changed = _other_classes(initial, tuple(class_names))
    weights = {
        name: value for name, value in initial.weights.items() if changed is None or not name.startswith(CLASSIFIER)
    }
    for name, value in expected.items():
        if name.startswith(CLASSIFIER) and changed is not None:
            continue
        if name not in weights:
            raise CheckpointError(f"{path} has no {name}, which this run has; {_LEAVE}")
        if weights[name].shape != value.shape:
            there, here = tuple(weights[name].shape), tuple(value.shape)
            raise CheckpointError(f"{path}: {name} has shape {there}, but this run makes it {here}; {_LEAVE}")
    if unknown := [name for name in weights if name not in expected]:
        raise CheckpointError(f"{path} has {unknown[0]}, which this run does not have; {_LEAVE}")
    kept = f"with what classifies its {count(len(class_names), 'class', 'classes')}"
    line = f"starts from {path}, {kept if changed is None else f'but what classifies starts anew: {changed}'}"
    return Start(weights, line)


def _other_classes(initial: Initial, names: tuple[str, ...]) -> str | None:
    """Say in which way the classes of a run are others than those trained before; None where they are the same."""
    before = initial.class_names
    if initial.model.num_classes != len(names):
        return f"{count(initial.model.num_classes, 'class', 'classes')} there, {len(names)} here"
    if before is None or before == names:
        return None
    if set(before) == set(names):
        return "its classes are in another order"
    others = [name for name in names if name not in before]
    return f"{examples(others)} {'was' if len(others) == 1 else 'were'} not among its classes"


def _exported(folder: Path) -> Initial:
    path = folder / CONFIG
    content = read_pretrained_config(path)
    names = content["dataset"].get("class_names") if isinstance(content.get("dataset"), Mapping) else None
    model, weights = saved_config(content, path).model, read_weights(folder / WEIGHTS)
    with torch.device("meta"):
        check_fit(weights, ActionDetector(model).state_dict(), folder / WEIGHTS)
    return Initial(folder / WEIGHTS, model, weights, None if names is None else tuple(names))
