# SPDX-License-Identifier: Apache-2.0
"""ActionFormer's configuration and parameter names, translated to ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from asl_fast.models.config import DetectorConfig, InferenceConfig

# Patterns over ActionFormer's parameter names, in the order they apply.
_RENAMES: tuple[tuple[str, str], ...] = (
    (r"^module\.", ""),
    (r"\.conv\.(weight|bias)$", r".\1"),
    (r"^backbone\.proj\.", "backbone.embedding.projections."),
    (r"^backbone\.embd\.", "backbone.embedding.convs."),
    (r"^backbone\.embd_norm\.(\d+)\.", r"backbone.embedding.norms.\1.norm."),
    (r"\.attn\.rel_pe$", ".attention.relative_bias"),
    (r"\.attn\.proj\.", ".attention.projection."),
    (r"\.attn\.", ".attention."),
    (r"\.ln1\.", ".attention_norm.norm."),
    (r"\.ln2\.", ".mlp_norm."),
    (r"\.mlp\.0\.", ".expand."),
    (r"\.mlp\.3\.", ".contract."),
    (r"\.drop_path_attn\.", ".attention_path."),
    (r"\.drop_path_mlp\.", ".mlp_path."),
    (r"^neck\.lateral_convs\.", "neck.lateral."),
    (r"^neck\.fpn_convs\.", "neck.smooth."),
    (r"^neck\.fpn_norms\.(\d+)\.", r"neck.norms.\1.norm."),
    (r"^cls_head\.cls_head\.", "classification_head.tower.output."),
    (r"^cls_head\.head\.", "classification_head.tower.convs."),
    (r"^cls_head\.norm\.(\d+)\.", r"classification_head.tower.norms.\1.norm."),
    (r"^reg_head\.offset_head\.", "regression_head.tower.output."),
    (r"^reg_head\.head\.", "regression_head.tower.convs."),
    (r"^reg_head\.norm\.(\d+)\.", r"regression_head.tower.norms.\1.norm."),
    (r"^reg_head\.scale\.", "regression_head.scales."),
)
_POINTWISE = re.compile(r"\.(projections\.\d+|query|key|value|projection|expand|contract|lateral\.\d+)\.weight$")
_CHANNEL_VECTOR = re.compile(r"(norm\.(weight|bias)|_norm\.(weight|bias)|_path\.scale)$")


# What ActionFormer takes for what a configuration leaves out (libs/core/config.py there).
_DATASET_DEFAULTS: dict[str, Any] = {"input_dim": 2304, "num_classes": 97, "max_seq_len": 2304}
_TRAIN_DEFAULTS: dict[str, Any] = {"dropout": 0.0, "droppath": 0.1, "cls_prior_prob": 0.01, "head_empty_cls": ()}
_MODEL_DEFAULTS: dict[str, Any] = {
    "backbone_type": "convTransformer",
    "fpn_type": "identity",
    "backbone_arch": (2, 2, 5),
    "scale_factor": 2,
    "regression_range": ((0, 4), (4, 8), (8, 16), (16, 32), (32, 64), (64, 10000)),
    "n_head": 4,
    "n_mha_win_size": -1,
    "embd_kernel_size": 3,
    "embd_dim": 512,
    "embd_with_ln": True,
    "fpn_dim": 512,
    "fpn_with_ln": True,
    "fpn_start_level": 0,
    "head_dim": 512,
    "head_kernel_size": 3,
    "head_num_layers": 3,
    "head_with_ln": True,
    "use_abs_pe": False,
    "use_rel_pe": False,
}
_TEST_DEFAULTS: dict[str, Any] = {
    "pre_nms_thresh": 0.001,
    "pre_nms_topk": 5000,
    "iou_threshold": 0.1,
    "min_score": 0.01,
    "max_seg_num": 1000,
    "nms_method": "soft",
    "nms_sigma": 0.5,
    "duration_thresh": 0.05,
    "multiclass_nms": True,
    "voting_thresh": 0.75,
}
_MODEL = "LocPointTransformer"
_METHODS: dict[str, Literal["gaussian", "hard", "none"]] = {"soft": "gaussian", "hard": "hard", "none": "none"}


def convert_name(name: str) -> str:
    """Return our name of ActionFormer's parameter ``name``."""
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def convert_tensor(name: str, tensor: Tensor) -> Tensor:
    """Return the tensor of ActionFormer's parameter ``name`` in our shape; 1x1 convolutions are linear layers here."""
    ours = convert_name(name)
    if _POINTWISE.search(ours):
        return tensor.squeeze(-1)
    if _CHANNEL_VECTOR.search(ours):
        return tensor.reshape(-1)
    if ours.endswith(".relative_bias"):
        return tensor.squeeze(1).squeeze(0)
    return tensor


def averaged_weights(checkpoint: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """Return the weights in a checkpoint as ActionFormer saves it, averaged where it has them; a state dict as it is.

    Raises:
        ValueError: When it holds something else than tensors by name.
    """
    for key in ("state_dict_ema", "state_dict"):
        if isinstance(checkpoint.get(key), Mapping):
            return averaged_weights(checkpoint[key])
    other = next((key for key, value in checkpoint.items() if not isinstance(value, Tensor)), None)
    if other is not None:
        raise ValueError(
            f"expected ActionFormer's weights, tensors by name, or its checkpoint with 'state_dict_ema'; {other!r} is "
            f"a {type(checkpoint[other]).__name__}"
        )
    return checkpoint


def convert_state_dict(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return ActionFormer's state dict, or that of its whole checkpoint, in our names and shapes.

    Raises:
        ValueError: As `averaged_weights`.
    """
    state_dict = averaged_weights(state_dict)
    return {convert_name(name): convert_tensor(name, tensor) for name, tensor in state_dict.items()}


def convert_config(config: Mapping[str, Any]) -> DetectorConfig:
    """Return ActionFormer's model as our configuration, with the quirks that its outputs depend on switched on.

    Args:
        config: Keyword arguments of ActionFormer's ``LocPointTransformer``; or what one of its YAML files holds, which
            names them under ``dataset``, ``model`` and ``train_cfg``. What is left out has ActionFormer's default.

    Raises:
        ValueError: Naming a missing key or a value that has no equivalent here.
    """
    try:
        return _convert_config(with_defaults(config))
    except KeyError as error:
        raise ValueError(
            f"the ActionFormer configuration lacks {error}; pass what its YAML file holds, or the keyword arguments of "
            "LocPointTransformer"
        ) from None


def with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments that ActionFormer makes of a configuration, its own defaults filled in.

    Args:
        config: As of `convert_config`.
    """
    sections = [config.get(name) for name in ("dataset", "model")]
    if any(isinstance(section, Mapping) for section in sections):
        data, model = (section if isinstance(section, Mapping) else {} for section in sections)
        chosen = {**model, **{key: data.get(key, _DATASET_DEFAULTS[key]) for key in _DATASET_DEFAULTS}}
        chosen["model_name"] = config.get("model_name", _MODEL)
    else:
        chosen = dict(config)
    train = config.get("train_cfg")
    chosen["train_cfg"] = {**_TRAIN_DEFAULTS, **(train if isinstance(train, Mapping) else {})}
    return {**_MODEL_DEFAULTS, **chosen}


def convert_inference(config: Mapping[str, Any]) -> InferenceConfig:
    """Return ActionFormer's post-processing as our configuration.

    Args:
        config: What its YAML file holds, or keyword arguments, as of `convert_config`: its ``test_cfg`` is read.

    Raises:
        ValueError: For a method of suppression that there is none of here.
    """
    given = config.get("test_cfg")
    test = {**_TEST_DEFAULTS, **(given if isinstance(given, Mapping) else {})}
    method = test["nms_method"]
    if method not in _METHODS:
        raise ValueError(f"test_cfg.nms_method must be one of {', '.join(_METHODS)}, found {method!r}")
    votes = not test["multiclass_nms"] and test["voting_thresh"] > 0
    limits = {"min_score": test["min_score"], "max_segments": test["max_seg_num"]}
    if method == "none":
        # ActionFormer keeps everything then.
        limits = {"min_score": 0.0, "max_segments": 0}
    return InferenceConfig(
        score_threshold=test["pre_nms_thresh"],
        candidates_per_level=test["pre_nms_topk"],
        min_length_grid=test["duration_thresh"],
        nms=_METHODS[method],
        nms_sigma=test["nms_sigma"],
        nms_iou_threshold=test["iou_threshold"],
        **limits,
        class_agnostic=not test["multiclass_nms"],
        voting_threshold=test["voting_thresh"] if votes else None,
    )


def padded_length(config: DetectorConfig, num_steps: int) -> int:
    """Return the length that ActionFormer pads a recording to in evaluation, on which its outputs depend.

    What lies beyond a recording's end is zero with padding too, but for the bias of each LayerNorm, which the last
    steps see. How much padding there is does not matter, except to absolute positions: as little is taken as gives
    every level the padded steps that a convolution reaches.

    Args:
        config: Of a model that was converted.
        num_steps: Of the recording.
    """
    longest, coarsest = config.max_length_grid, int(2 ** (config.num_levels - 1))
    multiple = max(int(2**level) * max(window // 2 * 2, 1) for level, window in enumerate(config.windows))
    theirs = longest if num_steps <= longest else -(-num_steps // multiple) * multiple
    if config.positions == "absolute":
        return theirs
    return min(theirs, (num_steps // coarsest + 1 + max(1, config.kernel_size // 2)) * coarsest)


def _convert_config(config: Mapping[str, Any]) -> DetectorConfig:
    if config.get("model_name", _MODEL) != _MODEL:
        raise ValueError(f"model_name must be {_MODEL}, found {config['model_name']!r}")
    if config["scale_factor"] != 2:
        raise ValueError(f"scale_factor must be 2, found {config['scale_factor']}")
    if config["embd_kernel_size"] != config["head_kernel_size"]:
        raise ValueError("embd_kernel_size and head_kernel_size must be equal")
    train = config["train_cfg"]
    embedding_layers, stem_blocks, branch_blocks = config["backbone_arch"]
    num_levels = branch_blocks + 1
    windows = config["n_mha_win_size"]
    windows = [windows] * num_levels if isinstance(windows, int) else list(windows)
    splits = tuple(config["input_dim"]) if isinstance(config["input_dim"], (list, tuple)) else ()
    projections = tuple(config["embd_dim"]) if splits else ()
    width = sum(projections) if splits else config["embd_dim"]
    if config["use_abs_pe"] and config["use_rel_pe"]:
        raise ValueError("use_abs_pe and use_rel_pe together have no equivalent here")
    transformer = config["backbone_type"] == "convTransformer"
    positions: Literal["none", "absolute", "relative"]
    positions = "absolute" if config["use_abs_pe"] else "relative" if config["use_rel_pe"] else "none"
    return DetectorConfig(
        feature_dim=sum(splits) if splits else config["input_dim"],
        num_classes=config["num_classes"],
        width=width,
        num_levels=num_levels,
        first_level=config["fpn_start_level"],
        backbone="transformer" if transformer else "conv",
        num_heads=config["n_head"],
        # ActionFormer's local attention reaches window // 2 positions to both sides; 1 and below mean full attention.
        attention_windows=tuple(w // 2 * 2 + 1 if w > 1 else 0 for w in windows),
        embedding_layers=embedding_layers,
        stem_blocks=stem_blocks,
        input_splits=splits,
        projection_dims=projections,
        positions=positions if transformer else "none",
        max_length_grid=config["max_seq_len"],
        fpn=config["fpn_type"] == "fpn",
        neck_width=config["fpn_dim"],
        head_width=config["head_dim"],
        head_layers=config["head_num_layers"],
        kernel_size=config["head_kernel_size"],
        embedding_norm=config["embd_with_ln"],
        neck_norm=config["fpn_with_ln"],
        head_norm=config["head_with_ln"],
        offset_activation="relu",
        regression_ranges=tuple((float(low), float(high)) for low, high in config["regression_range"]),
        dropout=train["dropout"],
        drop_path=train["droppath"],
        layer_scale=train["droppath"] > 0,
        prior_probability=train["cls_prior_prob"],
        rare_classes=tuple(train["head_empty_cls"]),
        mask_norms=False,
    )
