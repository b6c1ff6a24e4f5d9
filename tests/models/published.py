# SPDX-License-Identifier: Apache-2.0
"""A small model of ActionFormer's, in files as it is published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from asl_fast.models.convert_actionformer import with_defaults
from tests.shared import golden_arrays

_DATA = ("input_dim", "num_classes", "max_seq_len")


def as_published() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return ActionFormer's weights, its configuration flat, and as its YAML files have it: without defaults."""
    arrays = golden_arrays("small_forward_local9")
    config = json.loads(str(arrays["meta"]))["config"]
    state = {key.removeprefix("state__"): torch.from_numpy(arrays[key]) for key in arrays if key.startswith("state__")}
    model = {key: value for key, value in config.items() if key not in _DATA and not key.endswith("_cfg")}
    left_out = {key: value for key, value in model.items() if with_defaults({}).get(key) != value}
    nested = {"model_name": "LocPointTransformer", "dataset": {key: config[key] for key in _DATA}, "model": left_out}
    return state, config, nested | {"train_cfg": config["train_cfg"]}


def write_published(folder: Path, **dataset: Any) -> tuple[Path, Path]:
    """Write its checkpoint, whole and of a data-parallel model, and its YAML file.

    Args:
        folder: Where to.
        **dataset: What the YAML file has in its section of this name beyond the shapes.
    """
    yaml = __import__("yaml")
    state, _, nested = as_published()
    average = {f"module.{name}": value for name, value in state.items()}
    other = {name: value + 1 for name, value in average.items()}
    weights, config = folder / "e.pth.tar", folder / "c.yaml"
    torch.save({"epoch": 3, "state_dict": other, "state_dict_ema": average, "scheduler": {}, "optimizer": {}}, weights)
    config.write_text(yaml.safe_dump(nested | {"dataset": nested["dataset"] | dataset}))
    return weights, config
