# SPDX-License-Identifier: Apache-2.0
"""ActionFormer's files as they are published: a checkpoint and the YAML file it was trained with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asl_fast.files import read_text, require_file
from asl_fast.models.config import DetectorConfig
from asl_fast.models.convert_actionformer import averaged_weights, convert_config, convert_name, convert_tensor
from asl_fast.models.detector import ActionDetector
from asl_fast.serialization import from_dict, to_dict

_MODELS_KEYS = ("dataset", "model", "backbone_arch")
"""Of which a configuration has one: nested, or the keyword arguments of the model."""


@dataclass(frozen=True)
class Published:
    """A model of ActionFormer's.

    Attributes:
        path: The checkpoint.
        config: What its YAML file holds.
        model: The same as our configuration.
        weights: By our names, in our shapes; they fit ``model``.
    """

    path: Path
    config: Mapping[str, Any]
    model: DetectorConfig
    weights: Mapping[str, Tensor]


def looks_like_actionformer(content: Any) -> bool:
    """Tell whether what a file held is a checkpoint of ActionFormer, or of what came of it."""
    if not isinstance(content, Mapping):
        return False
    try:
        names = list(averaged_weights(content))
    except ValueError:
        return False
    return any(str(name).removeprefix("module.").startswith(("backbone.", "projection.")) for name in names)


def read_published(weights: Path, config: Path) -> Published:
    """Read both files, and check that they belong together.

    Raises:
        FileNotFoundError: When one is missing.
        ImportError: Without the package that reads YAML.
        ValueError: Naming the file and what in it cannot be used.
    """
    content = read_config(config)
    model = model_of(content, config)
    return Published(weights, content, model, _fitting(read_state_dict(weights), model, weights, config))


def read_config(path: Path) -> Mapping[str, Any]:
    """Read a YAML file of ActionFormer's, without what it takes for what is left out.

    Raises:
        FileNotFoundError: When there is none.
        ImportError: Without the package that reads YAML.
        ValueError: Naming the file, for one that is no YAML or says nothing of a model.
    """
    text = read_text(path)
    try:
        import yaml
    except ImportError:
        raise ImportError(f"{path} needs the pyyaml package: pip install 'asl-fast[actionformer]'") from None
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML file: {' '.join(str(error).split())[:160]}") from None
    if not isinstance(content, Mapping) or not any(key in content for key in _MODELS_KEYS):
        raise ValueError(
            f"{path} has no 'model' and no 'dataset': give the YAML file of ActionFormer's that the model was trained "
            "with, from its folder configs"
        )
    for key in ("dataset", "model", "train_cfg", "test_cfg"):
        if not isinstance(content.get(key, {}), Mapping):
            raise ValueError(f"{path}: {key!r} must hold keys and values, found {content[key]!r:.60}")
    return content


def model_of(config: Mapping[str, Any], path: Path) -> DetectorConfig:
    """Return the model that a YAML file describes; ``path`` is its place, for messages.

    Raises:
        ValueError: Naming the file and the value that has no equivalent here.
    """
    try:
        # Through plain values, so that each has its type.
        model = from_dict(DetectorConfig, to_dict(convert_config(config)), str(path))
        model.validate()
    except (ValueError, TypeError, AttributeError) as error:
        text = str(error).removeprefix(f"{path}: ")
        raise ValueError(f"{path}: {text}") from None
    return model


def read_state_dict(path: Path) -> Mapping[str, Tensor]:
    """Read the weights of a checkpoint, averaged where it has them, without running code; by ActionFormer's names.

    Raises:
        FileNotFoundError: When there is none.
        ValueError: Naming the file, for one that is damaged, would run code, or holds no weights of ActionFormer's.
    """
    require_file(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged file makes its readers raise has no end
        text = str(error).strip()
        if "weights_only" in text or "Unsupported" in text:
            raise ValueError(
                f"{path} holds more than tensors and plain values, which is not read, as it can run code; where you "
                "trust it, take its weights out: torch.save(torch.load(FILE, weights_only=False)['state_dict_ema'], "
                "'weights.pt')"
            ) from None
        reason = text.splitlines()[0][:160] if text else type(error).__name__
        raise ValueError(f"{path} is truncated or no checkpoint: {reason}") from None
    if isinstance(content, Mapping) and "format" in content and "config" in content:
        raise ValueError(f"{path} is a checkpoint of asl_fast, not of ActionFormer: no YAML file belongs to it")
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, not weights by name")
    try:
        weights = averaged_weights(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    plain = {str(name).removeprefix("module."): value for name, value in weights.items()}
    if any(name.startswith(("rpn_head.", "projection.")) for name in plain):
        raise ValueError(
            f"{path} is a checkpoint of OpenTAD, whose models have no equivalent here; train them with ASL in OpenTAD "
            "itself: asl_fast.integrations.opentad"
        )
    return {name: value for name, value in plain.items() if not name.startswith("asl_loss.")}


def _fitting(weights: Mapping[str, Tensor], model: DetectorConfig, path: Path, config: Path) -> dict[str, Tensor]:
    """Return weights by our names, which are all that a model has.

    Raises:
        ValueError: Naming the file, and the first weight by ActionFormer's name that is missing, unknown, of another
            shape or not finite.
    """
    with torch.device("meta"):  # without memory, as a wrong configuration may ask for any size
        expected = ActionDetector(model).state_dict()
    hint = "is that the YAML it was trained with?"
    found: dict[str, Tensor] = {}
    for name, value in weights.items():
        ours = convert_name(name)
        if ours not in expected:
            raise ValueError(f"{path}: {name!r} is no weight of the model that {config} describes; {hint}")
        converted = convert_tensor(name, value)
        if converted.shape != expected[ours].shape:
            shape, wanted = tuple(value.shape), tuple(expected[ours].shape)
            raise ValueError(f"{path}: {name!r} has shape {shape}, {config} makes it {wanted}; {hint}")
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f"{path}: {name!r} holds NaN or infinity; use another checkpoint")
        found[ours] = converted.to(expected[ours].dtype)
    if missing := [name for name in expected if name not in found]:
        raise ValueError(f"{path} has no weights for {missing[0]!r} of the model that {config} describes; {hint}")
    return found
